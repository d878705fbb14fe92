"""How good word vectors are: agreement with people on likeness (WordSim-353, SimLex-999), and analogies (Google's).

A score says how many questions the vocabulary could answer: a correlation over half of the pairs is not one over all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import InputError
from lamina.model.vectors.keyed_vectors import KeyedVectors

_BLOCK = 256  # questions at a time
_LARGEST = 64 << 20  # bytes of a file of questions


@dataclass(frozen=True, slots=True)
class Likeness:
    """``spearman`` between cosines and people's scores over ``pairs``; ``unknown`` more had a word without a vector.

    NaN with fewer than three pairs.
    """

    spearman: float
    pairs: int
    unknown: int

    def __str__(self) -> str:
        return f"Spearman {self.spearman:.3f} on {self.pairs} pairs ({self.unknown} with unknown words left out)"


@dataclass(frozen=True, slots=True)
class Analogies:
    """``right`` of ``asked`` questions; ``unknown`` more had a word without a vector; ``sections``: these by name."""

    right: int
    asked: int
    unknown: int
    sections: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Of the questions that were asked; NaN where none was."""
        return self.right / self.asked if self.asked else float("nan")

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} of {self.asked} analogies ({self.unknown} with unknown words left out)"


def evaluate_likeness(vectors: KeyedVectors, path: Path) -> Likeness:
    """Read a file of two words and a score on each line, separated by tabs or commas; # begins a remark.

    Of SimLex-999's own file, whose columns have a head, the column SimLex999 is the score. Words are taken as they are
    and, where the vocabulary lacks them so, in lower case. Raises ``InputError`` with the line that cannot be read.
    """
    people, cosines, unknown = [], [], 0
    for a, b, score in _scored_pairs(path):
        first, second = _known(vectors, a), _known(vectors, b)
        if first is None or second is None:
            unknown += 1
            continue
        people.append(score)
        cosines.append(vectors.similarity(first, second))
    return Likeness(spearman(np.array(cosines), np.array(people)), len(people), unknown)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The rank correlation of two samples (N,), ties at their mean rank (Spearman 1904); NaN where there is none."""
    if len(a) < 3:
        return float("nan")
    ranks = [_ranks(values) - (len(a) - 1) / 2 for values in (a, b)]
    scale = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    return float(ranks[0] @ ranks[1] / scale) if scale > 0 else float("nan")


def evaluate_analogies(vectors: KeyedVectors, path: Path, *, restrict: int | None = 300_000) -> Analogies:
    """Read a file of four words on each line, ": name" before each section, and ask a : b = c : … by 3CosAdd.

    The answer is sought among the ``restrict`` most frequent words, a, b and c left out. Words are compared in lower
    case, of two that differ in case only the more frequent one stands.
    """
    size = min(restrict or len(vectors), len(vectors))
    index: dict[str, int] = {}
    for place, word in enumerate(vectors.words[:size]):
        index.setdefault(word.lower(), place)
    questions: list[list[int]] = []
    sections: list[str] = []
    unknown: dict[str, int] = {}
    for name, words in _questions(path):
        places = [index[word.lower()] for word in words if word.lower() in index]
        if len(places) < 4:
            unknown[name] = unknown.get(name, 0) + 1
            continue
        questions.append(places)
        sections.append(name)
    asked = np.array(questions, np.int64).reshape(-1, 4)
    right = np.zeros(len(asked), bool)
    for i in range(0, len(asked), _BLOCK):
        right[i : i + _BLOCK] = _answers(vectors, asked[i : i + _BLOCK], size)
    table = {}
    for name in dict.fromkeys([*sections, *unknown]):
        mine = np.array([s == name for s in sections], bool)
        table[name] = (int(right[mine].sum()), int(mine.sum()), unknown.get(name, 0))
    return Analogies(int(right.sum()), len(asked), sum(unknown.values()), table)


def _answers(vectors: KeyedVectors, asked: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Whether the nearest word is the fourth, of questions (N, 4)."""
    a, b, c, d = asked.T
    unit = vectors.unit
    scores = (unit[b] - unit[a] + unit[c]) @ unit[:size].T
    rows = np.arange(len(asked))
    for word in (a, b, c):
        scores[rows, word] = -np.inf
    right: NDArray[np.bool_] = scores.argmax(axis=1) == d
    return right


def _known(vectors: KeyedVectors, word: str) -> str | None:
    """The form of a word that has a vector."""
    for form in (word, word.lower()):
        if form in vectors or (vectors.subwords is not None and vectors.subwords.vector(form) is not None):
            return form
    return None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = (ends - (counts + 1) / 2)[inverse]
    return means


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines that hold something."""
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"a file of questions has no {path.stat().st_size:,} bytes", where=str(path))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from error
    return [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]


def _scored_pairs(path: Path) -> list[tuple[str, str, float]]:
    """Two words and a score from each line."""
    pairs: list[tuple[str, str, float]] = []
    column = 2
    for number, line in _lines(path):
        fields = [f.strip() for f in line.replace(",", "\t").split("\t")]
        if not pairs and "SimLex999" in fields:
            column = fields.index("SimLex999")
            continue
        try:
            pairs.append((fields[0], fields[1], float(fields[column])))
        except (IndexError, ValueError) as error:
            if not pairs and len(fields) > 2:
                continue  # the heads of the columns
            raise InputError("two words and a number are expected", where=f"{path}:{number}") from error
    if not pairs:
        raise InputError("holds no pairs of words", where=str(path))
    return pairs


def _questions(path: Path) -> list[tuple[str, list[str]]]:
    """Section and four words from each line."""
    found: list[tuple[str, list[str]]] = []
    section = ""
    for number, line in _lines(path):
        words = line.split()
        if words[0].startswith(":"):
            section = line[1:].strip()
        elif len(words) == 4:
            found.append((section, words))
        else:
            raise InputError(f"four words are expected, not {len(words)}", where=f"{path}:{number}")
    if not found:
        raise InputError("holds no analogies", where=str(path))
    return found
