"""The same units anywhere: one process, several, a Ray cluster of two nodes. For kills see test_resume."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS, SourceFile
from lamina.data.parts import ROWS, PartWriter
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.units import read_unit, units_of
from lamina.kit.errors import ConfigError
from lamina.kit.progress import open_progress

STEPS: list[dict[str, Any]] = [
    {"transform": "normalize"},
    {"signal": "quality"},
    {"decide": "words >= 20", "reason": "short"},
    {"decide": "mean_word_length <= 6.5", "reason": "long words"},
    {"pass": "duplicates", "threshold": 0.8},
]


def text(i: int) -> str:
    draw = random.Random(i % 2100)  # some texts come twice
    words = [f"{draw.choice(['sail', 'net', 'rope', 'leviathan', 'of', 'a'])}{draw.randrange(50)}" for _ in range(30)]
    return " ".join(words[: 30 if i % 7 else 10])


def write_source(folder: Path, count: int = 2600) -> SourceInput:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    if not file.exists():
        file.write_bytes(b"".join(orjson.dumps({"id": f"d{i:05d}", "text": text(i)}) + b"\n" for i in range(count)))
    return SourceInput(name="rows", use="files", files=(SourceFile(name="rows.jsonl", path=file),), license="MIT")


def build(folder: Path, **where: Any) -> Path:
    out = folder / "out"
    out.mkdir(parents=True)
    build_corpus(
        out, folder / "work", sources=[write_source(folder.parent / "in")], steps=STEPS, held_out=0.2,
        progress=open_progress("quiet"), **where,
    )  # fmt: skip
    return out


def contents(corpus: Path) -> dict[str, bytes]:
    names = [f for pattern in ("data/*", "signals/*", "*.parquet", "report.json") for f in corpus.glob(pattern)]
    tables = [f for f in names if f.suffix == ".parquet"]
    # when it was collected is the one thing that differs from run to run
    rows = {
        str(f.relative_to(corpus)): pq.read_table(f).to_pandas().drop(columns="collected", errors="ignore")
        for f in tables
    }
    return {name: frame.to_json(date_format="iso").encode() for name, frame in rows.items()}


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """More units from few documents; which there are is decided here, not by the workers."""
    monkeypatch.setattr("lamina.data.units.GROUPS", 1)
    monkeypatch.setattr("lamina.data.cuts.SMALLEST", 100_000)


def written(place: Path, rows: int, group: int = ROWS) -> Path:
    batch = pa.RecordBatch.from_pylist(
        [{"id": f"{place.stem}{n}", "source": "s"} for n in range(rows)], schema=DOCUMENTS
    )
    with PartWriter(place, DOCUMENTS, group=group) as out:
        out.write(batch)
    return place


def test_units_depend_on_the_files_alone(tmp_path: Path) -> None:
    units = units_of([written(tmp_path / "a.parquet", 2500), written(tmp_path / "none.parquet", 0)])
    assert [u["rows"] for u in units] == [ROWS, ROWS, 452]
    assert max(u["end"] - u["begin"] for u in units) == 1
    (alone,) = units_of([tmp_path / "none.parquet"])
    assert alone["rows"] == 0
    assert list(read_unit(alone)) == []


def test_small_files_share_units_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.units.GROUPS", 4)
    files = [written(tmp_path / f"{n:02d}-.parquet", 100 + n, group=60) for n in range(12)]
    units = units_of(files)
    assert [u["rows"] for u in units] == [510, 486, 270]
    rows = [[row for batch in read_unit(u) for row in batch.column("id").to_pylist()] for u in units]
    assert [row for part in rows for row in part] == [f"{n:02d}-{k}" for n in range(12) for k in range(100 + n)]
    assert [len(part) for part in rows] == [u["rows"] for u in units]
    assert [len(list(read_unit(u, ["id"]))) for u in units] == [1, 1, 1]


def test_any_number_of_workers_gives_the_same_corpus(tmp_path: Path) -> None:
    one = contents(build(tmp_path / "one", workers=1))
    assert {"ledger.parquet", "dropped.parquet", "signals/phase-0.parquet"} <= set(one)
    assert len(list((tmp_path / "one" / "work" / "collected").glob("*/0*"))) > 3, "it was read in units"
    assert contents(build(tmp_path / "two", workers=2)) == one


def test_a_signal_is_known_of_dropped_documents_too(tmp_path: Path) -> None:
    corpus = build(tmp_path / "one", workers=1)
    measured = pq.read_table(corpus / "signals" / "phase-0.parquet").to_pylist()
    assert len(measured) == 2600
    short = [r for r in measured if r["decide:03 decide short"] is False]
    assert short
    assert all(r["mean_word_length"] is not None and r["decide:04 decide long words"] is not None for r in short)
    ledger = pq.read_table(corpus / "ledger.parquet").to_pylist()
    drops = [e["id"] for e in ledger if e["action"] in ("drop", "duplicate")]
    assert len(drops) == len(set(drops)), "a document is dropped once"
    samples = pq.read_table(corpus / "dropped.parquet").to_pylist()
    assert {s["id"] for s in samples} == set(drops)
    assert all(s["text"] for s in samples)
    steps = orjson.loads((corpus / "signals" / "steps.json").read_bytes())["steps"]
    assert [s["kind"] for s in steps if s["phase"] == 0][-1] == "pass"


def test_an_executor_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'slurm'"):
        build(tmp_path / "x", executor="slurm")


@pytest.mark.slow
def test_two_nodes_of_ray_give_the_same_corpus(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    wanted = contents(build(tmp_path / "local", workers=1))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
        assert len(ray.nodes()) == 2
        assert contents(build(tmp_path / "ray", executor="ray")) == wanted
    finally:
        ray.shutdown()
        cluster.shutdown()
