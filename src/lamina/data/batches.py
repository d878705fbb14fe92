"""Training batches from token shards: packed rows, a mixture of parts, and a place that can be saved exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.tokens import IGNORED, Batch
from lamina.data.packing import best_fit, cut
from lamina.data.shards import Shards
from lamina.kit.errors import ConfigError, InputError

_FORMAT = 1


class PackedBatches:
    """An endless ``contracts.tokens.BatchStream`` over ``parts``, pairs of shards and weight.

    Rows of ``length`` tokens are packed best-fit from whole documents (longer ones are cut into windows); ``weight`` is
    a part's share of the rows. Each part is gone through once an epoch in an order drawn from ``seed``; the order of
    everything follows from the arguments alone, so a place is a count of rows for each part.
    """

    def __init__(self, parts: Sequence[tuple[Shards, float]], *, batch: int, length: int, seed: int) -> None:
        if batch < 1 or length < 1:
            raise ConfigError(f"a batch of {batch} rows of {length} tokens cannot be", where="batches")
        if any(weight < 0 or not np.isfinite(weight) for _, weight in parts):
            raise ConfigError("weights are 0 or more", where="batches")
        made = [(_Part(shards, length, seed, number), w) for number, (shards, w) in enumerate(parts) if w > 0]
        # A part that teaches nothing (chat rows of a corpus that gave none) leaves its share to the others.
        made = [(part, weight) for part, weight in made if part.rows]
        if not made:
            raise InputError("there is nothing to learn from: no part has a token that carries loss and a weight")
        self._parts = [part for part, _ in made]
        weights = np.asarray([weight for _, weight in made], np.float64)
        self._weights = weights / weights.sum()
        self._batch, self._length, self._seed = batch, length, seed
        self._drawn = np.zeros(len(self._parts), np.int64)

    @property
    def rows_per_epoch(self) -> tuple[int, ...]:
        """Rows that hold all of each part once."""
        return tuple(part.rows for part in self._parts)

    @property
    def epochs(self) -> tuple[float, ...]:
        """How often each part has been gone through so far."""
        return tuple(float(n) / part.rows for n, part in zip(self._drawn, self._parts, strict=True))

    def __iter__(self) -> PackedBatches:
        return self

    def __next__(self) -> Batch:
        shape = (self._batch, self._length)
        inputs, segments, positions = (np.zeros(shape, np.int64) for _ in range(3))
        targets = np.full(shape, IGNORED, np.int64)
        for row in range(self._batch):
            # The part that lags most behind its share: no chance in it, and no drift.
            part = int(np.argmax(self._weights * (self._drawn.sum() + 1) - self._drawn))
            self._parts[part].fill(int(self._drawn[part]), inputs[row], targets[row], segments[row], positions[row])
            self._drawn[part] += 1
        return Batch(inputs=inputs, targets=targets, segments=segments, positions=positions)

    def state(self) -> Mapping[str, Any]:
        """Where the stream stands, as JSON."""
        return {"format": _FORMAT, "of": self._identity(), "drawn": self._drawn.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a saved place. Raises ``InputError`` where it was saved over other shards, sizes, weights or seed."""
        if state.get("format") != _FORMAT or state.get("of") != self._identity():
            raise InputError("this place was saved in another stream of batches", hint="start the run afresh")
        self._drawn = np.asarray(state["drawn"], np.int64)

    def _identity(self) -> dict[str, Any]:
        return {
            "parts": [part.shards.digest for part in self._parts],
            "weights": [round(float(w), 12) for w in self._weights],
            "batch": self._batch,
            "length": self._length,
            "seed": self._seed,
        }


class _Part:
    """One part of the mixture: its pieces, packed anew for each epoch."""

    def __init__(self, shards: Shards, length: int, seed: int, number: int) -> None:
        self.shards = shards
        self._length, self._seed, self._number = length, seed, number
        self._pieces = cut(shards, length)
        self._epoch = -1
        self._bins: list[list[int]] = []
        self._pack(0)
        self.rows = len(self._bins)  # of every epoch: packing depends on the sizes, shuffling does not change them

    def fill(
        self,
        row: int,
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        segments: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> None:
        """Write the part's ``row``-th row into arrays of shape (T,)."""
        self._pack(row // self.rows)
        at = 0
        for segment, piece in enumerate(self._bins[row % self.rows], 1):
            start, size = int(self._pieces.start[piece]), int(self._pieces.size[piece])
            stretch = np.asarray(self.shards.stream[start : start + size + 1], np.int64)
            marks = self.shards.loss[start + 1 : start + size + 1]
            place = slice(at, at + size)
            inputs[place] = stretch[:-1]
            targets[place] = np.where(marks, stretch[1:], IGNORED)
            segments[place] = segment
            positions[place] = np.arange(size)
            at += size

    def _pack(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        random = np.random.default_rng([self._seed, self._number, epoch])
        order = random.permutation(len(self._pieces.size))
        bins = best_fit(self._pieces.size[order].tolist(), self._length)
        self._bins = [[int(order[i]) for i in bins[b]] for b in random.permutation(len(bins))]
        self._epoch = epoch
