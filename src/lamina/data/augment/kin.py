"""Whether a child says anything new: beside its parent, and beside the other children of that parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamina.data.augment.similar import Trigrams

AS_PARENT, AS_CHILD = "as its parent", "as another child"  # why one is refused


class Kin:
    """What each parent's family says already: the parent, then its children."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._families: list[tuple[Trigrams, _Members]] = []

    def refuse(self, texts: Sequence[str], rows: Sequence[int], gone: Sequence[bool]) -> list[str | None]:
        """Why each child, of the parents ``rows``, says nothing new, or None; those that are ``gone`` count for
        nothing. Those that stay are of the family."""
        count = len(self._texts)
        if not self._families:
            self._families.append((Trigrams.of(self._texts), _Members.of(np.arange(count), np.arange(count), count)))
        grams = Trigrams.of(texts)
        found: list[str | None] = [None] * len(texts)
        of = np.array(rows, np.int64)
        here = np.flatnonzero(~np.array(gone, np.bool_))
        for number, (others, members) in enumerate(self._families):
            for n in np.unique(_near(grams, others, *members.pairs(here, of[here]))[0]).tolist():
                found[n] = found[n] or (AS_CHILD if number else AS_PARENT)
        here = here[[found[n] is None for n in here.tolist()]]
        one, other = _Members.of(here, of[here], count).pairs(here, of[here])
        before = other < one
        for n, m in zip(*(some.tolist() for some in _near(grams, grams, one[before], other[before])), strict=True):
            if found[m] is None:
                found[n] = AS_CHILD
        here = here[[found[n] is None for n in here.tolist()]]
        self._families.append((grams, _Members.of(here, of[here], count)))
        return found


@dataclass(frozen=True, slots=True)
class _Members:
    """Numbers of texts by the row of their parent: row r has ``numbers[starts[r] : starts[r + 1]]``, in their order."""

    numbers: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, numbers: NDArray[np.int64], rows: NDArray[np.int64], count: int) -> _Members:
        """``numbers[i]`` is of the parent ``rows[i]``, of ``count``."""
        order = np.argsort(rows, kind="stable")
        return cls(numbers[order], np.searchsorted(rows[order], np.arange(count + 1)))

    def pairs(self, texts: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Each of ``texts``, of the parents ``rows``, with each member of its family: two arrays (P,)."""
        sizes = self.starts[rows + 1] - self.starts[rows]
        begins = np.cumsum(sizes) - sizes
        within = np.arange(int(sizes.sum())) - np.repeat(begins, sizes)
        return np.repeat(texts, sizes), self.numbers[np.repeat(self.starts[rows], sizes) + within]


def _near(
    grams: Trigrams, others: Trigrams, one: NDArray[np.int64], other: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of ``one`` and ``other`` that are near."""
    near = grams.near(one, others, other)
    return one[near], other[near]
