"""Tombstones in the pipeline: documents that were forgotten go as they come in, near copies as soon as they are clean.

What a unit lost this way is written beside its documents, so that whatever an earlier phase said of them goes too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.clean.frames import to_batch, to_frame
from lamina.data.marking import Marked
from lamina.data.tombstones import Matcher, matcher_of

FILE = "forgotten.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was before a build: the corpus of the last one, and the tombstones (state folder and digest)."""

    earlier: Path | None = None
    state: Path | None = None
    tombstones: str | None = None

    def told(self) -> dict[str, str] | None:
        """For the workers."""
        return None if self.tombstones is None else {"state": str(self.state), "digest": self.tombstones}


@dataclass(slots=True)
class Forgetting:
    """Takes forgotten documents out of a unit; without tombstones nothing happens."""

    told: Mapping[str, str] | None
    ids: list[str] = field(default_factory=list)

    def arriving(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The documents that are not named by a tombstone."""
        return batch if self.told is None else self._less(batch, self._matcher().named(batch))

    def leaving(self, marked: Marked) -> Marked:
        """What the steps made of the documents, without near copies of forgotten texts, dropped ones included."""
        if self.told is None:
            return marked
        hit = self._matcher().alike(marked.batch.column("text"))[0]
        if not hit.any():
            return marked
        import polars as pl

        less = self._less(marked.batch, hit)
        stay = pl.Series(~hit)
        gone = set(self.ids)
        rows = to_frame(marked.ledger).filter(~pl.col("id").is_in(list(gone)))
        return replace(
            marked,
            batch=less,
            alive=marked.alive.filter(stay),
            verdicts={label: verdict.filter(pa.array(~hit)) for label, verdict in marked.verdicts.items()},
            ledger=to_batch(rows, marked.ledger.schema),
        )

    def write(self, folder: Path) -> None:
        """Write down which documents went."""
        if self.ids:
            (folder / FILE).write_bytes(orjson.dumps(self.ids))

    def _matcher(self) -> Matcher:
        assert self.told is not None
        return matcher_of(self.told["state"], self.told["digest"])

    def _less(self, batch: pa.RecordBatch, hit: NDArray[np.bool_]) -> pa.RecordBatch:
        if not hit.any():
            return batch
        self.ids += batch.column("id").filter(pa.array(hit)).to_pylist()
        return batch.filter(pa.array(~hit))


def forgotten_in(units: Iterable[Path]) -> list[str]:
    """The ids that the units of all phases lost, each once."""
    found: dict[str, None] = {}
    for unit in units:
        if (unit / FILE).exists():
            found.update(dict.fromkeys(orjson.loads((unit / FILE).read_bytes())))
    return list(found)


def readable(unread: list[dict[str, Any]], history: History) -> list[dict[str, Any]]:
    """``unread`` without files and pages whose address is forgotten."""
    if history.tombstones is None:
        return unread
    matcher = matcher_of(str(history.state), history.tombstones)
    return [row for row in unread if not matcher.has_address(row["name"])]
