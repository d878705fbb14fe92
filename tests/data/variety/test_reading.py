"""One reading of a corpus: what is kept of it does not grow with its texts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.variety.reading import gather


def test_a_sample_holds_no_more_of_a_corpus_than_itself(tmp_path: Path) -> None:
    text = "the lamp burned whale oil, and after that paraffin; " * 200
    file = tmp_path / "a.parquet"
    with pq.ParquetWriter(file, DOCUMENTS) as out:
        for group in range(20):
            ids = [f"{group}-{row}" for row in range(200)]
            given = {"id": pa.array(ids), "text": pa.array([text + id for id in ids]), "source": pa.array(["x"] * 200)}
            arrays = [given[f.name].cast(f.type) if f.name in given else pa.nulls(200, f.type) for f in DOCUMENTS]
            out.write_table(pa.table(arrays, schema=DOCUMENTS))
    before = pa.total_allocated_bytes()
    found = gather([file], size=40, seed=0)
    assert found.sample.height == 40
    assert found.characters > 40_000_000
    assert pa.total_allocated_bytes() - before < 2_000_000
