"""Vectors by their words: neighbours, analogies, odd ones out. The method names are gensim's ``KeyedVectors``'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import InputError, NotFoundError
from lamina.model.vectors.ngrams import Grams

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Subwords:
    """Vectors (buckets, D) of hashed n-grams, from which a word that was never seen gets one."""

    grams: Grams
    table: Floats

    def vector(self, word: str) -> Floats | None:
        """The mean (D,) of the word's n-grams; None where it has none."""
        buckets = self.grams.of(word)
        return self.table[buckets].mean(axis=0) if buckets else None


class KeyedVectors:
    """V words and their ``vectors`` (V, D) float32; ``counts`` (V,) say how often each stood in the corpus."""

    def __init__(
        self,
        words: Sequence[str],
        vectors: Floats,
        *,
        counts: NDArray[np.int64] | None = None,
        subwords: Subwords | None = None,
    ) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise InputError(f"{len(words):,} words cannot have vectors of shape {vectors.shape}")
        if counts is not None and len(counts) != len(words):
            raise InputError(f"{len(words):,} words cannot have {len(counts):,} counts")
        self.words, self.vectors, self.counts, self.subwords = list(words), vectors, counts, subwords
        self.index = {word: i for i, word in enumerate(self.words)}
        if len(self.index) != len(self.words):
            twice = next(w for i, w in enumerate(self.words) if self.index[w] != i)
            raise InputError(f"the word {twice!r} stands twice")

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    @property
    def width(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    @cached_property
    def unit(self) -> Floats:
        """The vectors (V, D) at length 1; a vector of zeros stays so."""
        return _unit(self.vectors)

    @overload
    def __getitem__(self, words: str) -> Floats: ...

    @overload
    def __getitem__(self, words: Iterable[str]) -> Floats: ...

    def __getitem__(self, words: str | Iterable[str]) -> Floats:
        """The vector (D,) of a word, or those (N, D) of several; an unknown word's from its n-grams.

        Raises ``NotFoundError``.
        """
        if not isinstance(words, str):
            found = [self[word] for word in words]
            return np.stack(found) if found else np.zeros((0, self.width), np.float32)
        place = self.index.get(words)
        if place is not None:
            row: Floats = self.vectors[place]
            return row
        made = self.subwords.vector(words) if self.subwords else None
        if made is None:
            raise NotFoundError(f"no vector for the word {words!r}")
        return made

    def similarity(self, a: str, b: str) -> float:
        """The cosine of the angle between two words."""
        return float(_unit(self[a]) @ _unit(self[b]))

    def most_similar(
        self,
        positive: str | Sequence[str] = (),
        negative: str | Sequence[str] = (),
        *,
        topn: int = 10,
        restrict_vocab: int | None = None,
    ) -> list[tuple[str, float]]:
        """The ``topn`` words nearest to the sum of the positive minus the negative ones (3CosAdd), and their cosines.

        The words asked with are left out. ``restrict_vocab``: among the first (most frequent) so many only.
        Linguistic regularities: Mikolov et al. 2013 (NAACL), Levy and Goldberg 2014 (CoNLL).
        """
        plus = [positive] if isinstance(positive, str) else list(positive)
        minus = [negative] if isinstance(negative, str) else list(negative)
        if not plus and not minus:
            raise InputError("most_similar needs at least one word")
        direction = np.sum([*(_unit(self[w]) for w in plus), *(-_unit(self[w]) for w in minus)], axis=0)
        return self.similar_by_vector(direction, topn=topn, without=[*plus, *minus], restrict_vocab=restrict_vocab)

    def similar_by_vector(
        self, vector: Floats, *, topn: int = 10, without: Iterable[str] = (), restrict_vocab: int | None = None
    ) -> list[tuple[str, float]]:
        """The ``topn`` words whose vectors point most nearly as ``vector`` (D,) does, and their cosines."""
        scores = self.unit[:restrict_vocab] @ _unit(np.asarray(vector, np.float32))
        barred = {self.index[w] for w in without if w in self.index}
        wanted = min(topn + len(barred), len(scores))
        if wanted <= 0:
            return []
        near = np.argpartition(-scores, wanted - 1)[:wanted]
        order = sorted((i for i in near.tolist() if i not in barred), key=lambda i: (-scores[i], i))
        return [(self.words[i], float(scores[i])) for i in order[:topn]]

    def analogy(self, a: str, b: str, c: str, *, topn: int = 1) -> list[tuple[str, float]]:
        """``a`` is to ``b`` as ``c`` is to …: the words nearest to b - a + c."""
        return self.most_similar([b, c], [a], topn=topn)

    def doesnt_match(self, words: Iterable[str]) -> str:
        """The word that is farthest from the mean of all ``words``."""
        listed = list(words)
        if not listed:
            raise InputError("doesnt_match needs at least one word")
        units = np.stack([_unit(self[word]) for word in listed])
        return listed[int(np.argmin(units @ _unit(units.mean(axis=0))))]


def _unit(vectors: Floats) -> Floats:
    """Each row, or the one vector, at length 1."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Floats = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
    return scaled
