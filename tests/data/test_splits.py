from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.splits import assign
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
