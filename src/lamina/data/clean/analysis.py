"""Words, lines, paragraphs and sentences of a batch of texts, found in one walk over their bytes.

The signals `quality`, `repetition`, `c4` and `fineweb` and the transform `c4_lines` only pick columns of an
``Analysis``; the last ones of each thread are remembered, so that steps which see the same texts share one walk.

What is a word. ``split="spaces"``: what lies between white space, Gopher's notion (Rae et al. 2021). ``split="marks"``:
marks of punctuation are words of their own, as in spaCy's tokenizer, through which datatrove reads English; thresholds
that were found with datatrove (FineWeb's) mean this. In both, each character of a script that is written without spaces
(Han, kana, Thai, Lao, Tibetan, Myanmar, Khmer) is a word.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lamina.data.clean.stopwords import GOPHER, INSIDE, languages, primary, stop_words
from lamina.kit.errors import ConfigError

Split = Literal["spaces", "marks"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_REMEMBERED = 2  # analyses a thread
_BYTES_A_WORD = 5  # expected; the arrays grow where there are more words
_BYTES_A_LINE = 24
_state = threading.local()


@dataclass(frozen=True)
class Analysis:
    """What the walk found in N texts with W words, L lines that are not blank and P paragraphs.

    ``ends`` (N + 1, 3): text i has the words from ``ends[i, 0]`` to ``ends[i + 1, 0]``, lines by column 1, paragraphs
    by column 2. ``lines`` (L, 7): first byte in ``data``, end, characters (trimmed), words between white space,
    characters of the longest of them, sentences, flags (see ``analysis_kernels.walk``).
    """

    data: NDArray[np.uint8]
    offsets: Ints  # (N + 1,) bytes
    counts: Ints  # (N, COUNTS)
    word_hashes: NDArray[np.uint64]  # (W,)
    word_lengths: NDArray[np.int32]  # (W,) characters
    line_hashes: NDArray[np.uint64]  # (L,)
    lines: Ints
    paragraph_hashes: NDArray[np.uint64]  # (P,)
    paragraph_lengths: Ints  # (P,) characters
    ends: Ints
    stop_words: Ints  # (N,) different ones; -1 where the language has no table
    _kept: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def grams(self) -> Ints:
        """Characters of repeated word n-grams, (N, 11): column n is for n-grams (see ``analysis_kernels.grams``)."""
        from lamina.data.clean.analysis_kernels.grams import grams

        found: Ints = grams(self.word_hashes, self.word_lengths, self._ends(0), len(self))
        return found

    @cached_property
    def repeated_lines(self) -> Ints:
        """Lines that have been there before, and their characters, (N, 2)."""
        from lamina.data.clean.analysis_kernels.grams import repeats

        found: Ints = repeats(self.line_hashes, self.lines[:, 2], self._ends(1), len(self))
        return found

    @cached_property
    def repeated_paragraphs(self) -> Ints:
        """Paragraphs that have been there before, and their characters, (N, 2)."""
        from lamina.data.clean.analysis_kernels.grams import repeats

        found: Ints = repeats(self.paragraph_hashes, self.paragraph_lengths, self._ends(2), len(self))
        return found

    @cached_property
    def line_counts(self) -> Ints:
        """Lines of each text that are not blank, (N,)."""
        return np.diff(self._ends(1))

    @cached_property
    def paragraph_counts(self) -> Ints:
        """Paragraphs of each text, (N,)."""
        return np.diff(self._ends(2))

    @cached_property
    def flags(self) -> Ints:
        """The bits of each line, (L,)."""
        return np.ascontiguousarray(self.lines[:, 6])

    def per_text(self, of_lines: NDArray[Any]) -> Ints:
        """The sum of a value of each line (L,) over the lines of each text, (N,)."""
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(of_lines, dtype=np.int64)])
        ends = self._ends(1)
        sums: Ints = before[ends[1:]] - before[ends[:-1]]
        return sums

    def _ends(self, column: int) -> Ints:
        return np.ascontiguousarray(self.ends[:, column])


def analyse(batch: pa.RecordBatch, *, split: Split = "spaces", words: Sequence[str] | None = ()) -> Analysis:
    """The analysis of the column ``text``.

    ``words``: the stop words to count; empty: those of each row's ``language`` (see ``stopwords``); None: they do not
    matter. Raises ``ConfigError`` for an unknown ``split``.
    """
    if split not in get_args(Split):
        raise ConfigError(f"no such split: {split!r}", hint=" or ".join(get_args(Split)))
    text = batch.column("text")
    language = batch.column("language") if "language" in batch.schema.names else None
    wanted = None if words is None else (tuple(words), None if words else _identity(language))
    kept: list[tuple[Any, Analysis]] = _state.__dict__.setdefault("kept", [])
    for (which, how, stops, _), found in kept:
        if which == _identity(text) and how == split and (wanted is None or wanted == stops):
            return found
    found = _walk(text, language, split == "marks", tuple(words or ()))
    stops = (tuple(words or ()), None if words else _identity(language))
    # The columns are held, so that no others can take their addresses.
    kept.insert(0, ((_identity(text), split, stops, (text, language)), found))
    del kept[_REMEMBERED:]
    return found


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """``part / whole``, NaN where ``whole`` is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, np.asarray(part, np.float64) / np.asarray(whole, np.float64), np.nan)


def utf8(column: pa.Array) -> tuple[NDArray[np.uint8], Ints]:
    """The bytes of a column of strings and where each begins and ends in them, (N + 1,); null as empty."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.large_string())
    if column.null_count:
        column = pc.fill_null(column, "")
    _, offsets, data = column.buffers()
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    if not len(column):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, kind, len(column) + 1, column.offset * np.dtype(kind).itemsize)
    return np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8), bounds.astype(np.int64)


def _identity(column: pa.Array | None) -> tuple[Any, ...] | None:
    if column is None:
        return None
    return (*(b.address if b else 0 for b in column.buffers()), column.offset, len(column))


def _walk(text: pa.Array, language: pa.Array | None, marks: bool, words: tuple[str, ...]) -> Analysis:
    from lamina.data.clean.analysis_kernels.classes import classes, lower_case
    from lamina.data.clean.analysis_kernels.state import COUNTS, STOPS
    from lamina.data.clean.analysis_kernels.walk import walk

    data, offsets = utf8(text)
    rows, size = len(offsets) - 1, int(offsets[-1] - offsets[0])
    slots, bits, known = _tables(words)
    which = _which(language, known, rows)
    longest = int(np.diff(offsets).max(initial=0))
    entries = np.array([size // _BYTES_A_WORD, size // _BYTES_A_LINE]) + longest + 1
    counts, ends = np.zeros((rows, COUNTS), np.int64), np.zeros((rows + 1, 3), np.int64)
    found_words = np.empty(entries[0], np.uint64), np.empty(entries[0], np.int32)
    found_lines = np.empty(entries[1], np.uint64), np.empty((entries[1], 7), np.int64)
    found_paragraphs = np.empty(entries[1], np.uint64), np.empty(entries[1], np.int64)
    start = 0
    while start < rows:
        start = walk(
            *(data, offsets, start, marks, classes(), lower_case(), (slots, bits), which),
            *(counts, found_words, found_lines, found_paragraphs, ends),
        )
        if start < rows:
            found_words, found_lines, found_paragraphs = (
                _longer(arrays) for arrays in (found_words, found_lines, found_paragraphs)
            )
    last = ends[-1]
    return Analysis(
        data=data,
        offsets=offsets,
        counts=counts,
        word_hashes=found_words[0][: last[0]],
        word_lengths=found_words[1][: last[0]],
        line_hashes=found_lines[0][: last[1]],
        lines=found_lines[1][: last[1]],
        paragraph_hashes=found_paragraphs[0][: last[2]],
        paragraph_lengths=found_paragraphs[1][: last[2]],
        ends=ends,
        stop_words=_stops(text, language, counts[:, STOPS], which, words),
    )


def _longer(arrays: tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    first, second = (np.concatenate([array, np.empty_like(array)]) for array in arrays)
    return first, second


@lru_cache(maxsize=8)
def _tables(words: tuple[str, ...]) -> tuple[NDArray[np.uint64], Ints, dict[str, int]]:
    """Hash tables (T, slots), the bit of each slot, and the row of each language ("" where it is not known)."""
    from lamina.data.clean.analysis_kernels.state import SLOTS

    lists = {"": words} if words else {"": GOPHER, "en": GOPHER}
    if not words:
        lists |= {code: stop_words(code) for code in languages() if code != "en" and code not in INSIDE}
    slots, bits = np.zeros((len(lists), SLOTS), np.uint64), np.zeros((len(lists), SLOTS), np.int64)
    for row, some in enumerate(lists.values()):
        for bit, word in enumerate(some[:62]):
            key = _hash(word.lower())
            slot = (key ^ (key >> 32)) % SLOTS
            while slots[row, slot]:
                slot = (slot + 1) % SLOTS
            slots[row, slot], bits[row, slot] = key, 1 << bit
    return slots.ravel(), bits.ravel(), {code: row for row, code in enumerate(lists)}


def _hash(word: str) -> int:
    """FNV-1a over code points, as in the kernel."""
    value = 0xCBF29CE484222325
    for character in word:
        value = ((value ^ ord(character)) * 0x100000001B3) & (2**64 - 1)
    return value


def _which(language: pa.Array | None, known: dict[str, int], rows: int) -> NDArray[np.int64]:
    """The table of stop words of each row, -1 for none."""
    if language is None or len(known) == 1:
        return np.zeros(rows, np.int64)
    coded = language.cast(pa.string()).dictionary_encode()
    rows_of = [known.get(primary(code), -1) for code in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(len(rows_of)).to_numpy(zero_copy_only=False)
    which: Ints = np.array([*rows_of, known[""]], np.int64)[codes]
    return which


def _stops(text: pa.Array, language: pa.Array | None, bits: Ints, which: Ints, words: tuple[str, ...]) -> Ints:
    found = np.bitwise_count(bits.astype(np.uint64)).astype(np.int64)
    found[which < 0] = -1
    if language is None or words:
        return found
    for code, inside in INSIDE.items():
        mine = pc.starts_with(language.cast(pa.string()), code).fill_null(False).to_numpy(zero_copy_only=False)
        if mine.any():
            texts = text.filter(pa.array(mine)).fill_null("")
            found[mine] = sum(
                pc.match_substring(texts, w).to_numpy(zero_copy_only=False).astype(np.int64) for w in inside
            )
    return found
