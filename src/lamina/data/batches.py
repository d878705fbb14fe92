"""Training batches from token shards: packed rows, a mixture of parts, and a place that can be saved exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import blake3
import numpy as np
from numpy.typing import NDArray

from lamina.contracts.tokens import IGNORED, Batch
from lamina.data.packing import best_fit, cut
from lamina.data.shards import Shards
from lamina.kit.errors import ConfigError, InputError

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the mixture: all of ``shards``, or the ``documents`` with these numbers (ascending)."""

    shards: Shards
    weight: float
    documents: NDArray[np.int64] | None = None

    @property
    def digest(self) -> str:
        """Of the tokens, and of the choice of documents."""
        if self.documents is None:
            return self.shards.digest
        chosen = blake3.blake3(np.asarray(self.documents, "<i8").tobytes()).hexdigest()[:16]
        return f"{self.shards.digest}:{chosen}"


class PackedBatches:
    """An endless ``contracts.tokens.BatchStream`` over ``parts``: pairs of shards and weight, or ``Part``s.

    Rows of ``length`` tokens are packed best-fit from whole documents (longer ones are cut into windows); ``weight`` is
    a part's share of the rows. Each part is gone through once an epoch in an order drawn from ``seed``; the order of
    everything follows from the arguments alone, so a place is a count of rows for each part.
    """

    def __init__(self, parts: Sequence[tuple[Shards, float] | Part], *, batch: int, length: int, seed: int) -> None:
        if batch < 1 or length < 1:
            raise ConfigError(f"a batch of {batch} rows of {length} tokens cannot be", where="batches")
        given = [part if isinstance(part, Part) else Part(shards=part[0], weight=part[1]) for part in parts]
        self._parts = [_Packed(part, length, seed, number) for number, part in enumerate(given)]
        self._batch, self._length, self._seed = batch, length, seed
        self._drawn = np.zeros(len(self._parts), np.int64)
        self.weigh([part.weight for part in given])

    def weigh(self, weights: Sequence[float]) -> None:
        """Set the parts' shares of the rows anew, before the first batch; a part without rows leaves its share to the
        others (chat rows of a corpus that gave none)."""
        if any(weight < 0 or not np.isfinite(weight) for weight in weights):
            raise ConfigError("weights are 0 or more", where="batches")
        if self._drawn.any():
            raise InputError("the shares of a stream that has begun stand", where="batches")
        given = np.asarray(weights, np.float64)
        given = np.where([part.rows > 0 for part in self._parts], given, 0.0) if len(given) else given
        if not given.sum():
            raise InputError("there is nothing to learn from: no part has a token that carries loss and a weight")
        self._weights = given / given.sum()

    @property
    def weights(self) -> tuple[float, ...]:
        """The share of the rows that each part has; together 1."""
        return tuple(self._weights.tolist())

    @property
    def rows_per_epoch(self) -> tuple[int, ...]:
        """Rows that hold all of each part once."""
        return tuple(part.rows for part in self._parts)

    @property
    def tokens_per_epoch(self) -> tuple[int, ...]:
        """Tokens of each part that carry loss."""
        return tuple(part.learned for part in self._parts)

    @property
    def epochs(self) -> tuple[float, ...]:
        """How often each part has been gone through so far."""
        return tuple(float(n) / max(part.rows, 1) for n, part in zip(self._drawn, self._parts, strict=True))

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
            "parts": [part.digest for part in self._parts],
            "weights": [round(float(w), 12) for w in self._weights],
            "batch": self._batch,
            "length": self._length,
            "seed": self._seed,
        }


class _Packed:
    """A part's pieces, packed anew for each epoch."""

    def __init__(self, part: Part, length: int, seed: int, number: int) -> None:
        self.shards, self.digest = part.shards, part.digest
        self._length, self._seed, self._number = length, seed, number
        self._pieces = cut(part.shards, length, part.documents)
        self._epoch = -1
        self._bins: list[list[int]] = []
        self._pack(0)
        self.rows = len(self._bins)  # of every epoch: packing depends on the sizes, shuffling does not change them
        self.learned = int(self._pieces.learned.sum())

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
