"""Rows of `bench_data.py` for rules: Gopher, C4 and FineWeb over pages in Parquet, against datatrove.

Ours is the stack's own cleaning of units by worker processes: language detection, rules, the ledger of every edit and
decision, signals and what stays, written to Parquet. Theirs are the filters of FineWeb's own example, in memory,
without language detection, one process a core. Decisions are compared page by page."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numba
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from machine import ROOT, machine  # beside this file

import lamina
from lamina.contracts.corpus import DOCUMENTS
from lamina.data.units import units_of
from lamina.kit.workers import Workers

WORKERS = 2
FOLDER = ROOT / ".cache" / "bench" / "rules"
STEPS = [{"recipe": "fineweb"}]
PAGES = int(os.environ.get("PAGES", 0)) or None  # fewer of them, where there is no time


def documents(count: int | None) -> Path:
    """The pages (or the first ``count``, which are a random lot) with a document's columns."""
    from pages import pages

    place = FOLDER / f"pages-{count or 'all'}.parquet"
    if not place.exists():
        table = pq.read_table(pages())
        table = table.slice(0, count or table.num_rows)
        columns = {"id": table["id"], "text": table["text"], "source": pa.array(["pages"] * table.num_rows)}
        arrays = [
            columns[f.name].cast(f.type) if f.name in columns else pa.nulls(len(table), f.type) for f in DOCUMENTS
        ]
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(arrays, schema=DOCUMENTS), place, row_group_size=500, compression="zstd")
    return place


def ours(file: Path, work: Path) -> tuple[float, set[str]]:
    """Seconds, and the ids that stay. Starting the workers counts."""
    begin = time.perf_counter()
    with Workers(WORKERS) as workers:
        payloads = [
            {"unit": unit, "folder": str(work / f"{n:05d}"), "steps": STEPS, "phase": 0, "found": None}
            for n, unit in enumerate(units_of([file]))
        ]
        work.mkdir(parents=True)
        list(workers.map("lamina.data.units:clean", payloads))
    seconds = time.perf_counter() - begin
    files = sorted(work.glob("*/documents.parquet"))
    return seconds, set(pl.read_parquet(files, columns=["id"])["id"])


def datatrove(file: Path, work: Path, alone: bool) -> tuple[float, set[str], dict[str, dict[str, str]]]:
    """The slower process' seconds (its start is not in them), the ids that stay, verdicts of each filter alone."""
    work.mkdir(parents=True)
    command = [str(ROOT / ".bench" / "datatrove" / "bin" / "python"), str(Path(__file__).parent / "peer_datatrove.py")]
    running = [
        subprocess.Popen(
            [*command, "rules", str(file), str(work / f"{n}.json"), str(n), str(WORKERS), *(["--alone"] * alone)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        for n in range(WORKERS)
    ]
    if any(process.wait() for process in running):
        raise RuntimeError("datatrove failed")
    told = [json.loads((work / f"{n}.json").read_text()) for n in range(WORKERS)]
    verdicts = {id: verdict for part in told for id, verdict in part["verdicts"].items()}
    return max(t["seconds"] for t in told), {id for t in told for id in t["kept"]}, verdicts


def rows(quick: bool = False, runs: int = 3) -> list[dict[str, Any]]:
    """One row: documents a second, and how far the decisions agree."""
    file = documents(2000 if quick else PAGES)
    facts = pq.read_metadata(file)
    total = facts.num_rows
    megabytes = pl.scan_parquet(file).select(pl.col("text").str.len_bytes().sum()).collect().item() / 1e6
    row: dict[str, Any] = {
        "work": f"rules (Gopher, C4, FineWeb; language and ledger on our side), {total:,} pages, {megabytes:.0f} MB",
        "peer": "datatrove filters, 2 processes",
        "unit": "documents/s",
        "machine": machine(),
        "versions": {"lamina": lamina.__version__, "numba": numba.__version__, "polars": pl.__version__},
    }
    there = (ROOT / ".bench" / "datatrove" / "bin" / "python").exists()
    times: tuple[list[float], list[float]] = ([], [])
    kept: tuple[set[str], set[str]] = (set(), set())
    for _ in range(1 if quick else runs):
        shutil.rmtree(FOLDER / "work", ignore_errors=True)
        seconds, mine = ours(file, FOLDER / "work" / "ours")
        times[0].append(seconds)
        theirs: set[str] = set()
        if there:
            seconds, theirs, _verdicts = datatrove(file, FOLDER / "work" / "theirs", alone=False)
            times[1].append(seconds)
        kept = (mine, theirs)
    row |= {"ours": total / statistics.median(times[0]), "runs": len(times[0])}
    if not there:
        return [row | {"theirs": "not installed: make bench-setup"}]
    ratios = [b / a for a, b in zip(*times, strict=True)]
    apart = len(kept[0] ^ kept[1])
    return [
        row
        | {
            "theirs": total / statistics.median(times[1]),
            "ratio": statistics.median(ratios),
            "spread": f"{min(ratios):.1f}-{max(ratios):.1f}",
            "quality": f"decisions agree on {100 * (1 - apart / total):.2f} %; ours keeps {len(kept[0]):,},"
            f" theirs {len(kept[1]):,} (only ours {len(kept[0] - kept[1]):,}, only theirs {len(kept[1] - kept[0]):,})",
            "versions": row["versions"] | {"datatrove": _version()},
        }
    ]


def _version() -> str:
    python = ROOT / ".bench" / "datatrove" / "bin" / "python"
    code = "import importlib.metadata as m; print(m.version('datatrove'))"
    return subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
