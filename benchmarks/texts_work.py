"""What the sides of `bench_texts.py` are given: MiniLM, a translator of Marian's shape, and sentences of Wikipedia.

No package registry has a translator's weights: those of `marian()` are random, of the shape of OPUS-MT's models, with a
tokenizer learned from leads of English, French and Spanish articles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import ROOT  # beside this file

from lamina.kit.tokenizer import open_tokenizer

PLACE = ROOT / ".cache" / "bench" / "texts"
PIECES = 58_101  # of OPUS-MT's English-German model; the last one is the padding, which starts an answer
_END, _UNKNOWN, _PAD = "</s>", "<unk>", "<pad>"
_SENTENCE = re.compile(r"[^.!?]+[.!?]+(?=\s|$)")


def material(name: str) -> Path:
    """A package that `make setup-dev` fetched."""
    return Path(json.loads((ROOT / ".cache" / "material" / "places.json").read_text())[name])


def minilm() -> Path:
    """all-MiniLM-L6-v2 as sentence-transformers keeps it."""
    return next(material("minilm").rglob("modules.json")).parent


def leads(language: str) -> Iterator[str]:
    """Leads of Wikipedia articles: "en-us", "fr-fr", "es-es"."""
    told = json.loads(next(material("wiki").rglob(f"summaries_{language}.json")).read_text())
    return (row["extract"].strip() for row in told.values() if row.get("extract"))


def texts(tokens: range, count: int, *, skip: int = 0) -> list[str]:
    """Beginnings of leads, whole sentences, of so many of MiniLM's ``tokens``; ``skip`` of them left out first."""
    tokenizer, found = open_tokenizer(minilm()), list[str]()
    for lead in leads("en-us"):
        ends = [match.end() for match in _SENTENCE.finditer(lead)]
        some = (lead[:end] for end in ends)
        text = next((text for text in some if len(tokenizer.framed(text).ids) in tokens), None)
        if text is not None:
            found.append(text)
        if len(found) == skip + count:
            return found[skip:]
    raise AssertionError(f"fewer than {skip + count} leads begin with {tokens} tokens")


def sentences(count: int) -> list[str]:
    """First sentences of leads, of 8 to 48 tokens of ``marian()``'s."""
    tokenizer, found = open_tokenizer(marian()), list[str]()
    for lead in leads("en-us"):
        match = _SENTENCE.match(lead)
        if match and 8 <= len(tokenizer.framed(match[0]).ids) <= 48:
            found.append(match[0])
        if len(found) == count:
            break
    return found


def marian() -> Path:
    """The translator's folder, made at the first call."""
    folder = PLACE / "marian"
    if not (folder / "config.json").is_file():
        import torch

        from lamina.model.architectures.presets import preset
        from lamina.model.checkpoint import save_model
        from lamina.model.transformer import Transformer

        folder.mkdir(parents=True, exist_ok=True)
        _write_tokenizer(folder)
        torch.manual_seed(0)
        model = Transformer(preset("marian", vocabulary=PIECES))
        with torch.no_grad():  # peers begin with a vector of zeros, which is the padding's in OPUS-MT's models
            model.stack.embeddings.token.weight[PIECES - 1] = 0.0
            model.decoder.embeddings.token.weight[PIECES - 1] = 0.0
        # Neither the padding nor the end is said: answers have the length that is asked for, on all sides.
        ids: dict[str, Any] = {"eos_token_id": 0, "pad_token_id": PIECES - 1, "decoder_start_token_id": PIECES - 1}
        told = ids | {"bad_words_ids": [[PIECES - 1], [0]]}
        (folder / "generation_config.json").write_text(json.dumps(told))
        save_model(model, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | ids))
    return folder


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES - 1, special_tokens=[_END, _UNKNOWN], show_progress=False, min_frequency=1
    )
    backend.train_from_iterator((x for language in ("en-us", "fr-fr", "es-es") for x in leads(language)), trainer)
    backend.add_special_tokens([_PAD])
    assert backend.token_to_id(_PAD) == PIECES - 1, backend.get_vocab_size()
    backend.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, 0)])
    backend.save(str(folder / "tokenizer.json"))
    named = {"pad_token": _PAD, "eos_token": _END, "unk_token": _UNKNOWN, "source_lang": "en", "target_lang": "de"}
    named |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
