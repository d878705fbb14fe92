"""Evaluation items, and documents that hold them.

Coverage, after decon (Allen Institute for AI, 2025): the n-grams of an item that stand together in a document, weighted
by how few items have them, over those of the whole item. Where the item has answers, one of them must stand near.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.duplicates.folding import folding
from lamina.data.duplicates.sketch import utf8
from lamina.kit.errors import ConfigError, InputError

QUESTIONS = ("question", "prompt", "problem", "query", "instruction", "input", "text")
ANSWERS = ("answer", "answers", "target", "solution", "output", "response")
GAP = 11  # words without a shared n-gram that still belong to one passage
_PERFECT, _RELAXED = 20, 50  # words of an item: up to here all of it must be there; from here the threshold holds
_LONG = 8  # words of an answer from which its n-grams count, and not the whole
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of an evaluation set; ``name`` is its id or line."""

    set: str
    name: str
    question: str
    answers: tuple[str, ...] = ()


def read_items(path: Path) -> Iterator[Item]:
    """The items of a file: JSONL (also .gz) or Parquet with a field of ``QUESTIONS`` and perhaps one of ``ANSWERS``, or
    text, an item a line. Raises ``ConfigError`` for a file that is not there, ``InputError`` for one that is none."""
    if not path.is_file():
        raise ConfigError("there is no such file", where=str(path))
    if path.suffix == ".txt":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                yield Item(set=path.name, name=str(number), question=line)
        return
    for number, row in enumerate(_rows(path), 1):
        question = next((row[k] for k in QUESTIONS if isinstance(row.get(k), str)), None)
        if question is None:
            raise InputError(f"row {number} has none of the fields {', '.join(QUESTIONS)}", where=str(path))
        answers = next((list(_texts(row[k])) for k in ANSWERS if row.get(k) is not None), [])
        name = str(row.get("id", number))
        yield Item(set=path.name, name=name, question=question, answers=tuple(answers))


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
        return
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise InputError(f"is not JSON: {error}", where=f"{path}:{number}") from None
                if not isinstance(row, dict):
                    raise InputError("is no JSON object", where=f"{path}:{number}")
                yield row


def _texts(value: Any) -> Iterator[str]:
    """The strings in an answer field: text, a list of texts, SQuAD's {"text": […]}, a number."""
    if isinstance(value, str | int | float):
        yield str(value)
    elif isinstance(value, Mapping):
        yield from _texts(value.get("text", []))
    elif isinstance(value, Iterable):
        for one in value:
            yield from _texts(one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``name``: coverage or ngram; see ``lamina.data.clean.decontaminate``."""

    name: str
    n: int
    threshold: float
    window: int
    near: bool

    def needed(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """The score that items of so many words must reach: all of a short one, ``threshold`` of a long one."""
        slack = np.clip((words - _PERFECT) / (_RELAXED - _PERFECT), 0.0, 1.0)
        return 1.0 - slack * (1.0 - self.threshold)


def words_of_texts(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of the words of texts, one text after another, and where each begins and ends (N + 1)."""
    from lamina.data.duplicates.items_kernels import words_in

    data, offsets = utf8(pa.array(list(texts), pa.large_string()))
    fold = folding()
    words, ends = np.empty(int(offsets[-1]) // 2 + 2 * len(offsets), np.uint64), np.zeros(len(offsets), np.int64)
    total = words_in(data, offsets, fold.table, fold.many, words, ends)
    return words[:total], ends


def grams_of_words(words: Hashes, n: int) -> Hashes:
    """Hashes of the n-grams of one text."""
    from lamina.data.duplicates.items_kernels import grams_in

    out = np.empty(len(words), np.uint64)
    return out[: grams_in(words, len(words), n, out)]


class Items:
    """The items that can be looked for (at least n words), and the index of their n-grams."""

    def __init__(self, items: Sequence[Item], rule: Rule) -> None:
        words, ends = words_of_texts([item.question for item in items])
        sizes = np.diff(ends)
        able = np.flatnonzero(sizes >= rule.n)
        self.rule = rule
        self.items = [items[i] for i in able.tolist()]
        self.too_short = len(items) - len(able)
        sets = [np.unique(grams_of_words(words[ends[i] : ends[i + 1]], rule.n)) for i in able]
        every = np.concatenate([np.zeros(0, np.uint64), *sets])
        owners = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
        self.grams, of, counts = np.unique(every, return_inverse=True, return_counts=True)
        self.weights = np.log1p(len(sets) / counts) if rule.name == "coverage" else np.ones(len(counts))
        self.first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        self.owners = owners[np.argsort(of, kind="stable")]
        self.totals = np.bincount(owners, weights=self.weights[of], minlength=len(sets))
        self.needed = rule.needed(sizes[able]) * self.totals if rule.name == "coverage" else np.ones(len(sets))

    @cached_property
    def _slots(self) -> NDArray[np.int32]:
        from lamina.data.duplicates.items_kernels import hashed

        return np.asarray(hashed(self.grams), np.int32)

    def suspects(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """(S, 2): text and item that may be of one another, for ``judge`` to say."""
        from lamina.data.duplicates.items_kernels import suspects

        fold = folding()
        index = (self.grams, self._slots, self.weights, self.first, self.owners)
        room = 1024
        while True:
            out = np.empty((room, 2), np.int64)
            size = suspects(data, offsets, fold.table, fold.many, self.rule.n, index, self.needed, out)
            if size >= 0:
                return out[:size]
            room *= 8

    def judge(self, words: Hashes, item: int) -> dict[str, Any] | None:
        """Whether a text of ``words`` holds the item: its score and the evidence, or None."""
        grams = grams_of_words(words, self.rule.n)
        shared = np.searchsorted(self.grams, grams)
        shared = np.where(self.grams[np.minimum(shared, len(self.grams) - 1)] == grams, shared, -1)
        mine = np.zeros(len(self.grams) + 1, bool)  # the last place: of grams that no item has
        mine[np.repeat(np.arange(len(self.grams)), np.diff(self.first))[self.owners == item]] = True
        places = np.flatnonzero(mine[shared])
        best: dict[str, Any] | None = None
        for passage in np.split(places, np.flatnonzero(np.diff(places) > GAP + 1) + 1):
            weight = float(self.weights[np.unique(shared[passage])].sum())
            if weight < self.needed[item] - 1e-9 or not len(passage):
                continue
            score = weight / float(self.totals[item])
            near, answer = self._answer(words, int(passage[0]), int(passage[-1]) + self.rule.n, item)
            if not near:
                continue
            if best is None or score > best["score"]:
                best = self._evidence(item, score, len(passage), answer)
        return best

    def _evidence(self, item: int, score: float, shared: int, answer: str) -> dict[str, Any]:
        about = self.items[item]
        evidence = {"set": about.set, "item": about.name, "score": round(score, 4), "shared": shared}
        return evidence | ({"answer": answer[:80]} if answer else {}) | {"question": about.question[:160]}

    def _answer(self, words: Hashes, begin: int, end: int, item: int) -> tuple[bool, str]:
        """Whether an answer stands near words[begin:end], and which; where none is asked for, none is wanting."""
        answers = self.items[item].answers
        if not answers or not self.rule.near:
            return True, ""
        for answer in answers:
            said, _ = words_of_texts([answer])
            reach = max(self.rule.window, 2 * len(said))
            if len(said) and _stands_in(said, words[max(begin - reach, 0) : end + reach], self.rule):
                return True, answer
        return False, ""


def _stands_in(said: Hashes, passage: Hashes, rule: Rule) -> bool:
    if len(said) > max(_LONG, rule.n):
        grams = np.unique(grams_of_words(said, rule.n))
        return bool(np.isin(grams, grams_of_words(passage, rule.n)).mean() >= rule.threshold)
    if len(said) > len(passage):
        return False
    windows = np.lib.stride_tricks.sliding_window_view(passage, len(said))
    return bool((windows == said).all(axis=1).any())
