"""What a pass said of all documents, laid out unit by unit: a worker then reads what is about its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.data.clean.frames import to_frame
from lamina.data.units import read_unit


def spread(table: pa.Table, units: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write ``folder``/000000.parquet and so on: the rows of ``table`` (by id, each once) on the documents of a unit.

    Ids are looked up by their hash, in time that grows with the unit, not with the table: 16 bytes of memory a row.
    """
    import polars as pl

    hashes = pl.Series(table["id"]).hash(seed=1).to_numpy()
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    for number, unit in enumerate(units):
        batches = [to_frame(batch) for batch in read_unit(unit, ["id"])]
        ids = pl.concat([pl.DataFrame(schema={"id": pl.String}), *batches])["id"].unique(maintain_order=True)
        wanted = ids.hash(seed=1).to_numpy()
        at = np.minimum(np.searchsorted(hashes, wanted), max(len(hashes) - 1, 0))
        found = hashes[at] == wanted if len(hashes) else np.zeros(len(wanted), bool)
        mine = table.take(pa.array(order[at[found]], pa.int64()))
        if not pl.Series(mine["id"]).equals(ids.filter(pl.Series(found))):  # two ids of one hash
            mine = _joined(table, ids.to_list())
        pq.write_table(mine, folder / f"{number:06d}.parquet", compression="zstd")


def _joined(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    """The rows of ``table`` for ``ids``, in their order, by comparing the ids themselves."""
    import polars as pl

    places = pl.DataFrame({"id": pl.Series(table["id"]), "row": np.arange(table.num_rows)})
    wanted = pl.DataFrame({"id": ids}, schema={"id": pl.String})
    rows = wanted.join(places, on="id", how="inner", maintain_order="left")["row"]
    return table.take(rows.to_arrow())
