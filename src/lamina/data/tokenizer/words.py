"""The different words of a sample, counted, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lamina.data.tokenizer.chunks import Chunks, lone_texts
from lamina.data.tokenizer.encode import batches_of
from lamina.data.tokenizer.sample import Sample
from lamina.kit.progress import Progress
from lamina.kit.tokenizer_chunks import Cuts

DISTINCT = 32_000_000  # bytes of all different words that something is learned from
_ROOM = 1 << 16
_LESS = 0.9
_TOGETHER = 1 << 16  # words


@dataclass(frozen=True)
class Words:
    """Parts of the texts as some ``cuts`` make them: those that are short, and the long ones."""

    short: Chunks
    counts: NDArray[np.int64]  # of the short ones, by number
    long: Counter[str]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Each with its count."""
        yield from zip(self.short.texts(0, len(self.short)), self.counts.tolist(), strict=True)
        yield from self.long.items()


def count_words(sample: Sample, cuts: Cuts, *, most: int, progress: Progress) -> tuple[Sample, Words]:
    """The words, and the part of the sample that they are of: where all different words have over ``most`` bytes
    together, a smaller sample is taken, so that what is kept of it has a bound."""
    while True:
        with progress.task("tokenizer: count words", total=sample.total, unit="characters") as task:
            words, seen = Words(Chunks(cuts, _ROOM), np.zeros(0, np.int64), Counter()), 0
            for texts in sample:
                words = _with(words, texts)
                size = pc.sum(pc.utf8_length(texts)).as_py() or 0
                task.advance(size)
                seen += size
                if words.short.bytes + sum(map(len, words.long)) > most:
                    break
            else:
                return sample, words
        progress.say(f"tokenizer: so many different words that {int(seen * _LESS):,} characters must do")
        sample = sample.smaller(int(seen * _LESS))


def _with(words: Words, texts: pa.Array) -> Words:
    from lamina.data.tokenizer.chunk_kernels import tally

    counts = words.counts
    for some in batches_of(texts):
        found = words.short.find(some, grow=True)
        more = len(words.short) - len(counts)
        counts = np.concatenate([counts, np.zeros(more, np.int64)]) if more else counts
        tally(found.codes, counts)
        words.long.update(lone_texts(found))
    return Words(words.short, counts, words.long)


def count_characters(words: Words) -> NDArray[np.int64]:
    """How often each code point is in the sample, (0x110000,)."""
    total = np.zeros(0x110000, np.int64)
    held: list[tuple[str, int]] = []

    def add() -> None:
        points = np.frombuffer("".join(text for text, _ in held).encode("utf-32-le"), np.uint32)
        weights = np.repeat([n for _, n in held], [len(text) for text, _ in held])
        np.add.at(total, points, weights)
        held.clear()

    for word in words:
        held.append(word)
        if len(held) == _TOGETHER:
            add()
    add()
    return total
