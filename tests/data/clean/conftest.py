from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from lamina.kit.identity import blake3_hex
from lamina.kit.workers import resolve


@dataclass
class UnitBatches:
    """``contracts.corpus.Batches`` over units in memory, in this process; a call to map is done once."""

    units: Sequence[Sequence[pa.RecordBatch]]
    work: Path
    earlier: Path | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return itertools.chain.from_iterable(self.units)

    def map(self, function: str, payload: Mapping[str, Any]) -> list[Path]:
        name = blake3_hex(function, orjson.dumps(dict(payload)))[:16]
        folders = [self.work / f"{name}-{n}" for n in range(len(self.units))]
        for folder, unit in zip(folders, self.units, strict=True):
            if not folder.exists():
                folder.mkdir(parents=True)
                resolve(function)(iter(unit), folder, dict(payload))
        return folders


@pytest.fixture
def as_batches(tmp_path: Path) -> Callable[..., UnitBatches]:
    """Rows (column to values) as documents before a pass, cut into ``units`` of batches of ``size`` rows."""
    numbers = itertools.count()

    def make(columns: Mapping[str, Any] | pa.RecordBatch, units: int = 1, size: int = 3) -> UnitBatches:
        rows = columns if isinstance(columns, pa.RecordBatch) else pa.record_batch(dict(columns))
        bounds = [rows.num_rows * n // units for n in range(units + 1)]
        cut = [rows.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
        parts = [[part.slice(i, size) for i in range(0, part.num_rows, size)] for part in cut]
        return UnitBatches(parts, tmp_path / f"work-{next(numbers)}")

    return make
