"""Training batches from token shards: packed rows, a mixture of parts, and a place that can be saved exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.tokens import IGNORED, Batch
from lamina.data.forms import Form, NextTokens, Part, Row
from lamina.data.packing import best_fit
from lamina.data.shards import Shards
from lamina.kit.errors import ConfigError, InputError

__all__ = ["PackedBatches", "Part"]

_FORMAT = 1
_DRAWS = 0x0B1EC7  # keeps the draws for a piece apart from those for an epoch's order


class PackedBatches:
    """An endless ``contracts.tokens.BatchStream`` over ``parts``: pairs of shards and weight, or ``Part``s.

    Rows of ``length`` tokens are packed best-fit from whole documents (longer ones are cut into windows); ``weight`` is
    a part's share of the rows. Each part is gone through once an epoch in an order drawn from ``seed``; the order of
    everything follows from the arguments alone, so a place is a count of rows for each part. ``form`` says what is
    made of the documents: rows for models that go on with text, or those of another objective.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Shards, float] | Part],
        *,
        batch: int,
        length: int,
        seed: int,
        form: Form | None = None,
    ) -> None:
        if batch < 1 or length < 1:
            raise ConfigError(f"a batch of {batch} rows of {length} tokens cannot be", where="batches")
        given = [part if isinstance(part, Part) else Part(shards=part[0], weight=part[1]) for part in parts]
        self._form: Form = NextTokens() if form is None else form
        self._parts = [_Packed(part, length, seed, number, self._form) for number, part in enumerate(given)]
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
        arrays = self._blank()
        for number in range(self._batch):
            # The part that lags most behind its share: no chance in it, and no drift.
            part = int(np.argmax(self._weights * (self._drawn.sum() + 1) - self._drawn))
            self._parts[part].fill(int(self._drawn[part]), Row(arrays, number))
            self._drawn[part] += 1
        made: dict[str, Any] = _trimmed(arrays) if self._form.trimmed else arrays
        return Batch(**made)

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
            **({"form": dict(self._form.identity)} if self._form.identity else {}),
        }

    def _blank(self) -> dict[str, NDArray[np.int64]]:
        holds, shape = self._form.holds, (self._batch, self._length)
        names = ["inputs", "segments", "positions", *(["kinds"] if "kinds" in holds else [])]
        arrays: dict[str, NDArray[np.int64]] = {name: np.zeros(shape, np.int64) for name in names}
        arrays["targets"] = np.full(shape, IGNORED, np.int64)
        if "sources" in holds:
            wide = (self._batch, self._form.source_length(self._length))
            arrays |= {name: np.zeros(wide, np.int64) for name in ("sources", "source_segments")}
        if "labels" in holds:
            arrays["labels"] = np.full(self._batch, IGNORED, np.int64)
        return arrays


def _trimmed(arrays: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Without the columns on the right in which no row has a token."""
    found = dict(arrays)
    for ruler in ("segments", "source_segments"):
        if ruler in arrays:
            width = max(1, int(np.flatnonzero(arrays[ruler].any(axis=0))[-1]) + 1)
            names = [n for n, a in arrays.items() if a.ndim == 2 and ("source" in n) == ("source" in ruler)]
            found |= {name: np.ascontiguousarray(arrays[name][:, :width]) for name in names}
    return found


class _Packed:
    """A part's pieces, packed anew for each epoch."""

    def __init__(self, part: Part, length: int, seed: int, number: int, form: Form) -> None:
        self.digest = part.digest
        self._part, self._length, self._seed, self._number, self._form = part, length, seed, number, form
        self._pieces = form.cut(part, length)
        self._epoch = -1
        self._bins: list[list[int]] = []
        self._pack(0)
        self.rows = len(self._bins)  # of every epoch: packing depends on the sizes, shuffling does not change them
        self.learned = int(self._pieces.learned.sum())

    def fill(self, number: int, row: Row) -> None:
        """Write the part's row ``number``, counted over all epochs."""
        epoch = number // self.rows
        self._pack(epoch)
        for segment, piece in enumerate(self._bins[number % self.rows], 1):
            start, size = int(self._pieces.start[piece]), int(self._pieces.size[piece])

            def draw(piece: int = piece) -> np.random.Generator:
                return np.random.default_rng([self._seed, self._number, epoch, piece, _DRAWS])

            self._form.write(row, segment, self._part, start, size, draw)

    def _pack(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        random = np.random.default_rng([self._seed, self._number, epoch])
        order = random.permutation(len(self._pieces.size))
        bins = best_fit(self._pieces.room[order].tolist(), self._length)
        self._bins = [[int(order[i]) for i in bins[b]] for b in random.permutation(len(bins))]
        self._epoch = epoch
