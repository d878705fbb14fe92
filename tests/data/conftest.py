"""What a pass gets, for tests: documents in units, gone through in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lamina.kit.workers import resolve


@dataclass(frozen=True)
class Units:
    """``contracts.corpus.Batches`` over record batches, one list of them a unit."""

    units: list[list[pa.RecordBatch]]
    work: Path
    earlier: Path | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for unit in self.units:
            yield from unit

    def map(self, function: str, payload: Mapping[str, Any]) -> list[Path]:
        folders = []
        for number, unit in enumerate(self.units):
            folder = self.work / f"{function.replace(':', '.')}-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            resolve(function)(iter(unit), folder, dict(payload))
            folders.append(folder)
        return folders


@pytest.fixture
def as_batches(tmp_path: Path) -> Callable[..., Units]:
    """``as_batches({"id": […], "text": […]}, units)``: the rows in so many units, three to a batch."""
    made = 0

    def make(rows: Mapping[str, Any], units: int = 2, size: int = 3) -> Units:
        nonlocal made
        made += 1
        table = pa.record_batch(dict(rows))
        length = max(1, -(-table.num_rows // units))
        parts = [table.slice(begin, length) for begin in range(0, max(1, table.num_rows), length)]
        batches = [[part.slice(begin, size) for begin in range(0, part.num_rows, size)] for part in parts]
        return Units(batches, tmp_path / f"pass-{made}")

    return make
