"""Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), also as mergeable ranks for tiktoken."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from lamina.data.tokenizer.folder import CHATML, END, HIDDEN, TURN_END, TURN_START, at_least, read, write_folder
from lamina.data.tokenizer.sample import Sample
from lamina.data.tokenizer.words import DISTINCT, count_words
from lamina.kit.progress import Progress
from lamina.kit.token_bytes import byte_level
from lamina.kit.tokenizer_chunks import PATTERN_BYTES, SPACES

RANKS = "ranks.tiktoken"


def train_bpe(sample: Sample, staging: Path, *, vocabulary: int, mask: bool = False, progress: Progress) -> None:
    """See ``train.train_tokenizer``."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    controls = [END, TURN_START, TURN_END, *([HIDDEN] if mask else [])]
    at_least(vocabulary, 256 + len(controls), "bytes and controls")
    sample, _ = count_words(sample, SPACES, most=DISTINCT, progress=progress)
    backend: Any = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN_BYTES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=controls,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(read(sample, progress), trainer)
    roles = {"bos_token": END, "eos_token": TURN_END, "pad_token": END}
    if mask:  # as RoBERTa's (arXiv 1907.11692): a text between two marks
        roles |= {"mask_token": HIDDEN, "cls_token": END, "sep_token": END}
        backend.post_processor = processors.TemplateProcessing(
            single=f"{END} $A {END}", pair=f"{END} $A {END} $B:1 {END}:1", special_tokens=[(END, 0)]
        )
    text = backend.to_str()
    write_folder(staging, text, roles, chat_template=CHATML, add_prefix_space=False)
    write_ranks(orjson.loads(text), staging)


def write_ranks(parsed: Mapping[str, Any], staging: Path) -> bool:
    """``RANKS`` (base64 of the token's bytes, and its rank, which is its id) and tiktoken.json, which has tiktoken's
    other arguments. False, and nothing is written, where a token comes from two merges: tiktoken cannot say that."""
    vocabulary, merges = parsed["model"]["vocab"], parsed["model"]["merges"]
    if len({"".join(pair) for pair in merges}) < len(merges):
        return False
    special = {token["content"]: token["id"] for token in parsed["added_tokens"]}
    ranks = sorted((i, text) for text, i in vocabulary.items() if text not in special)
    lines = (b"%s %d\n" % (base64.b64encode(byte_level(text)), i) for i, text in ranks)
    (staging / RANKS).write_bytes(b"".join(lines))
    facts = {"pat_str": PATTERN_BYTES, "special_tokens": special, "explicit_n_vocab": len(vocabulary)}
    (staging / "tiktoken.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return True
