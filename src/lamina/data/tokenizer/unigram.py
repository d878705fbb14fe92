"""Unigram (Kudo 2018) in SentencePiece's alphabet ("▁" for a space) with a token for every byte: any text comes back.

Trained here and not by the library whose format is written: that one gives other pieces each time, and takes minutes
for a few megabytes (see docs/decisions).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lamina.data.tokenizer.folder import CHATML, T5, TURN_END, TURN_START, at_least, write_folder
from lamina.data.tokenizer.sample import Sample
from lamina.data.tokenizer.unigram_pieces import learn, text_of
from lamina.data.tokenizer.words import DISTINCT, Words, count_words
from lamina.kit.progress import Progress
from lamina.kit.tokenizer_chunks import PATTERN_PIECES, cuts_of

COVERAGE = 0.9995  # of the characters in the sample: those have pieces, others are written in bytes (SentencePiece's)
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
_BYTE_SCORE = -1e4  # never better than anything that spells the same


def train_unigram(sample: Sample, staging: Path, *, vocabulary: int, sentinels: int, progress: Progress) -> None:
    """See ``train.train_tokenizer``."""
    controls = [*T5.values(), TURN_START, TURN_END]
    ends = [f"<extra_id_{n}>" for n in reversed(range(sentinels))]  # T5's order
    wanted = vocabulary - len(controls) - len(ends) - 256
    at_least(vocabulary, vocabulary - wanted + 2 * len(_PRINTABLE), "controls, bytes, and printable characters twice")
    backend = _backend()
    cuts = cuts_of(orjson.loads(backend.to_str()))
    assert cuts is not None
    _, words = count_words(sample, cuts, most=DISTINCT, progress=progress)
    text = text_of(*_pieces(words, backend, wanted // 2))
    with progress.task("tokenizer: rounds", total=None, unit="rounds") as task:
        found = learn(text, wanted, lambda size: task.advance(1, pieces=size))
    pieces = [p for p in sorted(found, key=lambda p: (-p[1], p[0])) if not _BYTE.fullmatch(p[0])]
    vocab = [(t, 0.0) for t in controls] + [(f"<0x{b:02X}>", _BYTE_SCORE) for b in range(256)] + pieces
    vocab += [(t, 0.0) for t in ends]
    write_folder(staging, _finished(backend, vocab, [*controls, *ends]), T5, chat_template=CHATML, extra_ids=sentinels)


def _backend() -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    backend: Any = Tokenizer(models.Unigram())
    # No space is put in front of a text: a document begins as each of its lines does, and comes back as it was.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Metaspace(prepend_scheme="never", split=False),
            pre_tokenizers.Split(Regex(PATTERN_PIECES), "isolated"),
        ]
    )
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend


def _finished(backend: Any, vocab: list[tuple[str, float]], controls: list[str]) -> str:
    from tokenizers import models

    unk = next(i for i, (text, _) in enumerate(vocab) if text == T5["unk_token"])
    backend.model = models.Unigram(vocab, unk, True)
    backend.add_special_tokens(controls)
    return str(backend.to_str())


def _pieces(words: Words, backend: Any, most: int) -> tuple[list[str], list[int], str]:
    """Words as the pre-tokenizer cuts them with their counts, in order, and the characters that get pieces."""
    counts: dict[str, int] = {}
    for word, count in words:
        for piece, _ in backend.pre_tokenizer.pre_tokenize_str(word):
            counts[piece] = counts.get(piece, 0) + count
    order = sorted(counts)
    often = [counts[piece] for piece in order]
    total: dict[str, int] = dict.fromkeys(_PRINTABLE, 0)
    for piece, count in zip(order, often, strict=True):
        for c in piece:
            total[c] = total.get(c, 0) + count
    ranked = sorted(total, key=lambda c: (-total[c], c))
    covered = np.cumsum([total[c] for c in ranked])
    enough = int(np.searchsorted(covered, COVERAGE * covered[-1])) + 1
    kept = {*_PRINTABLE, *ranked[: min(enough, most)]}
    return order, often, "".join(sorted(kept))
