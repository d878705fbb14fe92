"""Best-fit packing: pieces of documents into rows of one length, with as little padding as can be had cheaply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamina.data.shards import Shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Stretches of a token stream that are learned as one: ``size`` inputs from ``start`` on, each with the token
    after it as its target, or what another form of rows makes of them; ``learned`` of the targets carry loss; ``room``:
    places that it takes in a row. All of shape (P,)."""

    start: NDArray[np.int64]
    size: NDArray[np.int64]
    learned: NDArray[np.int64]
    room: NDArray[np.int64]

    def where(self, kept: NDArray[np.bool_]) -> Pieces:
        """Those that are ``kept`` (P,)."""
        return Pieces(start=self.start[kept], size=self.size[kept], learned=self.learned[kept], room=self.room[kept])


def spans(shards: Shards, documents: NDArray[np.int64] | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each document (or those with the numbers ``documents``) begins and ends, (N,) and (N,)."""
    begin = np.concatenate([np.zeros(1, np.int64), shards.ends[:-1]]) if shards.documents else np.zeros(0, np.int64)
    return (begin, shards.ends) if documents is None else (begin[documents], shards.ends[documents])


def cut(shards: Shards, length: int, documents: NDArray[np.int64] | None = None) -> Pieces:
    """Every document (or those with the numbers ``documents``) as pieces of at most ``length`` inputs; pieces none of
    whose targets carries loss are left out.

    A document of n tokens has n - 1 pairs of input and target. Its windows share no pair and leave none out: the last
    target of one is the first input of the next.
    """
    begin, end = spans(shards, documents)
    start, size = windows(begin, np.maximum(end - begin - 1, 0), length)
    learned = _learned(shards.loss, start, size)
    return Pieces(start=start, size=size, learned=learned, room=size).where(learned > 0)


def windows(
    begin: NDArray[np.int64], count: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stretches of ``count`` (N,) from ``begin`` (N,) on, cut into windows of at most ``length``: where each starts,
    and its size."""
    number = -(-count // length)
    owner = np.repeat(np.arange(len(begin)), number)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(number)[:-1]]) if len(number) else number
    place = np.arange(len(owner)) - first[owner]
    return begin[owner] + place * length, np.minimum(count[owner] - place * length, length)


def _learned(loss: NDArray[np.bool_], start: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Targets with loss in each piece."""
    if not len(start):
        return np.zeros(0, np.int64)
    edges = np.stack([start + 1, start + size + 1], axis=1).ravel()
    edges = edges[:-1] if edges[-1] == len(loss) else edges
    return np.add.reduceat(loss, edges, dtype=np.int64)[::2]


def best_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of ``sizes`` in bins of ``capacity``: largest first, each into the fullest bin that still takes it.

    Best-fit decreasing uses at most 11/9 of the fewest bins, and 6/9 of one (Dósa 2007). Equal sizes keep their order.
    """
    bins: list[list[int]] = []
    open_bins: list[list[int]] = [[] for _ in range(capacity + 1)]  # by room that is left
    rooms = 0  # bit r is set where a bin with room r is open
    order = np.argsort(-np.asarray(sizes, np.int64), kind="stable")
    for index in order.tolist():  # each choice depends on those before
        size = int(sizes[index])
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            place = open_bins[room].pop()
            if not open_bins[room]:
                rooms &= ~(1 << room)
            bins[place].append(index)
        else:
            room, place = capacity, len(bins)
            bins.append([index])
        left = room - size
        if left:
            open_bins[left].append(place)
            rooms |= 1 << left
    return bins
