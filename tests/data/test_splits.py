from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.parts import PartWriter
from lamina.data.splits import assign, split
from lamina.kit.errors import ConfigError


def table(ids: list[str], parents: list[str | None] | None = None, clusters: list[str] | None = None) -> pl.DataFrame:
    columns = {"id": ids, "parent_id": parents or [None] * len(ids)} | (
        {"duplicate_cluster": clusters} if clusters else {}
    )
    return pl.DataFrame(columns, schema_overrides={"id": pl.String, "parent_id": pl.String})


def sides(documents: pl.DataFrame, share: float) -> dict[str, str]:
    return dict(assign(documents, share).iter_rows())


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(1, 60))
def test_clusters_stay_together_and_each_side_has_some(rows: int, share: float, clusters: int) -> None:
    names = [f"c{i % clusters}" for i in range(rows)]
    found = sides(table([f"d{i}" for i in range(rows)], clusters=names), share)
    assert len(found) == rows
    assert set(found.values()) == {"train", "held-out"}
    if len(set(names)) > 1:
        for name in set(names):
            assert len({found[f"d{i}"] for i in range(rows) if names[i] == name}) == 1


def test_newcomers_move_nobody() -> None:
    before = sides(table([f"d{i}" for i in range(200)]), 0.2)
    after = sides(table([f"d{i}" for i in range(400)]), 0.2)
    assert {i: after[i] for i in before} == before
    assert 40 <= sum(v == "held-out" for v in after.values()) <= 120


def test_children_go_with_their_parents() -> None:
    ids = [f"d{i}" for i in range(50)]
    found = sides(table([*ids, *(f"x{i}" for i in range(50))], [*[None] * 50, *ids]), 0.5)
    assert all(found[f"d{i}"] == found[f"x{i}"] for i in range(50))


def test_share_zero_and_a_single_document() -> None:
    assert sides(table(["a", "b", "c"]), 0.0) == dict.fromkeys("abc", "train")
    assert sides(table(["a"]), 0.5) == {"a": "train"}
    assert sides(table([]), 0.5) == {}
    with pytest.raises(ConfigError):
        assign(table(["a"]), 1.0)


def written(folder: Path, documents: pl.DataFrame) -> list[Path]:
    schema = pa.schema([*DOCUMENTS, pa.field("duplicate_cluster", pa.string())])
    files = []
    for number, part in enumerate(documents.iter_slices(30)):
        files.append(folder / f"{number}.parquet")
        rows = [{"source": "s", "text": "é" * n, "language": "en", **row} for n, row in enumerate(part.to_dicts())]
        with PartWriter(files[-1], schema) as out:
            out.write(pa.RecordBatch.from_pylist(rows, schema=schema))
    return files


@pytest.mark.parametrize("children", [False, True])
@pytest.mark.parametrize(("clusters", "share"), [(17, 0.3), (80, 0.01), (1, 0.5), (80, 0.0), (80, 0.99)])
def test_of_files_as_of_a_table(tmp_path: Path, children: bool, clusters: int, share: float) -> None:
    ids = [f"d{n}" for n in range(80)]
    parents = [f"d{n - 40}" if children and n >= 40 else None for n in range(80)]
    documents = table(ids, parents, [f"c{n % clusters}" for n in range(80)])
    found = split(written(tmp_path, documents), share)
    assert found["split"].cast(pl.String).to_list() == assign(documents, share)["split"].to_list()
    assert found["characters"].to_list() == [n % 30 for n in range(80)]
    assert found.group_by("source", "language").len().rows() == [("s", "en", 80)]


def test_no_documents_have_no_split(tmp_path: Path) -> None:
    found = split(written(tmp_path, table(["a"]))[:0], 0.5)
    assert found.height == 0
    assert {"split", "source", "license", "language", "characters"} == set(found.columns)
