"""Duplicates end to end against datatrove and text-dedup: the rows `duplicates` of `bench_data.py`.

From Parquet files to Parquet files without the duplicates, with two workers on both sides, over real pages with planted
copies (see ``planted.py``). Precision and recall are those on the planted pairs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import pyarrow as pa
import pyarrow.parquet as pq
from machine import ROOT, machine  # beside this file
from planted import Planted, planted, quality, small_texts

import lamina
from lamina.data.clean.duplicates import duplicates
from lamina.data.units import read_unit, units_of
from lamina.kit.identity import blake3_hex
from lamina.kit.workers import Workers

WORKERS = 2
FOLDER = ROOT / ".cache" / "bench" / "duplicates"


class FileBatches:
    """``contracts.corpus.Batches`` over Parquet files."""

    earlier = None

    def __init__(self, files: list[Path], work: Path, workers: Workers) -> None:
        self.units, self.work, self._workers = units_of(files), work, workers

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for unit in self.units:
            yield from read_unit(unit)

    def map(self, function: str, payload: Mapping[str, Any]) -> list[Path]:
        name = blake3_hex(function, json.dumps(payload))[:8]
        folders = [self.work / f"{name}-{n:05d}" for n in range(len(self.units))]
        tasks = [
            {"unit": unit, "folder": str(folder), "function": function, "payload": dict(payload)}
            for unit, folder in zip(self.units, folders, strict=True)
        ]
        list(self._workers.map("lamina.data.units:passing", tasks))
        return folders


def ours(files: list[Path], work: Path) -> tuple[float, set[str]]:
    """Seconds, and the ids that were dropped; ``work``/kept gets the others. Starting the workers does not count, as
    the peers' start does not."""
    (work / "kept").mkdir(parents=True)
    with Workers(WORKERS) as workers:
        duplicates(_begun(files[0], work / "begun", workers))
        begin = time.perf_counter()
        found = duplicates(FileBatches(files, work / "pass", workers))
    gone = {i for i, d in zip(found["id"].to_pylist(), found["drop"].to_pylist(), strict=True) if d}
    dropped = pa.array(sorted(gone), pa.string())

    def write_kept(file: Path) -> None:
        table = pq.read_table(file, use_threads=False)
        kept = pa.compute.invert(pa.compute.is_in(table["id"], dropped))
        pq.write_table(table.filter(kept), work / "kept" / file.name, compression="snappy")

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(write_kept, files))
    return time.perf_counter() - begin, gone


def _begun(file: Path, work: Path, workers: Workers) -> FileBatches:
    """A few documents as a unit for each worker, with which it begins."""
    place = file.parent.parent / "begun.parquet"
    pq.write_table(pq.read_table(file).slice(0, 50), place)
    batches = FileBatches([place], work, workers)
    batches.units *= WORKERS
    return batches


def datatrove(folder: Path, work: Path) -> tuple[float, set[str]]:
    """The same of datatrove; its start is not in its time."""
    command = [str(ROOT / ".bench" / "datatrove" / "bin" / "python"), str(Path(__file__).parent / "peer_minhash.py")]
    done = subprocess.run(
        [*command, str(folder), str(work), str(WORKERS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], set(told["dropped"])


def text_dedup(file: Path, work: Path) -> tuple[float, set[str]]:
    """The same of text-dedup, whose own clock counts; of the version that its interpreter allows."""
    options = "--split train --column text --ngram 5 --b 14 --r 8 --num_perm 112 --threshold 0.8 --min_length 1"
    command = [str(ROOT / ".bench" / "text-dedup" / "bin" / "python"), "-m", "text_dedup.minhash", "--path", "parquet"]
    command += ["--data_files", str(file), "--output", str(work / "kept"), "--cache_dir", str(work / "cache")]
    command += [*options.split(), "--hash_func", "xxh3", "--num_proc", str(WORKERS)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(work / "home"), "COLUMNS": "200"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, text=True, env=env)
    seconds = re.findall(r"Total\s*:\s*([\d.]+)s", done.stdout)
    kept: set[str] = set()
    for part in sorted((work / "kept").glob("*.arrow")):
        kept.update(pa.ipc.open_stream(part).read_all()["id"].to_pylist())
    return float(seconds[-1]), set(pq.read_table(file, columns=["id"])["id"].to_pylist()) - kept


def corpus(quick: bool) -> Planted:
    """The planted corpus, also in as many files as there are workers: datatrove does not split one."""
    from pages import pages

    texts = small_texts() if quick else pq.read_table(pages(), columns=["text"])["text"].to_pylist()
    made = planted(texts, FOLDER / ("quick" if quick else "full") / "all.parquet")
    table = pq.read_table(made.file)
    parts = made.file.parent / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    for n in range(WORKERS):
        some = table.take(list(range(n, table.num_rows, WORKERS)))
        pq.write_table(some, parts / f"{n}.parquet", row_group_size=500)
    return made


def rows(quick: bool = False, runs: int = 3) -> list[dict[str, Any]]:
    """One row for each peer."""
    made = corpus(quick)
    parts = sorted((made.file.parent / "parts").glob("*.parquet"))
    sides: dict[str, Callable[[Path], tuple[float, set[str]]]] = {
        "lamina": lambda work: ours(parts, work),
        "datatrove": lambda work: datatrove(parts[0].parent, work),
        "text-dedup": lambda work: text_dedup(made.file, work),
    }
    missing = {name for name in list(sides)[1:] if not (ROOT / ".bench" / name / "bin" / "python").exists()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    said: dict[str, str] = {}
    for _ in range(1 if quick else runs):
        for name, run in sides.items():
            if name not in missing:
                shutil.rmtree(FOLDER / "work", ignore_errors=True)
                seconds, gone = run(FOLDER / "work")
                times[name].append(seconds)
                said[name] = quality(made.pairs, gone)
    return [_row(made, name, times, said) for name in list(sides)[1:]]


def _row(made: Planted, peer: str, times: dict[str, list[float]], said: dict[str, str]) -> dict[str, Any]:
    row = {
        "work": f"duplicates, {made.documents:,} documents, {made.megabytes:.0f} MB, {WORKERS} workers",
        "peer": {"datatrove": "datatrove MinHash (unverified)", "text-dedup": "text-dedup minhash (unverified)"}[peer],
        "unit": "MB/s",
        "ours": made.megabytes / statistics.median(times["lamina"]),
        "runs": len(times["lamina"]),
        "machine": machine(),
        "versions": {"lamina": lamina.__version__, "numba": numba.__version__},
    }
    if not times[peer]:
        return row | {"theirs": "not installed: make bench-setup", "quality": f"ours {said['lamina']}"}
    ratios = [b / a for a, b in zip(times["lamina"], times[peer], strict=True)]
    return row | {
        "theirs": made.megabytes / statistics.median(times[peer]),
        "ratio": statistics.median(ratios),
        "spread": f"{min(ratios):.1f}-{max(ratios):.1f}",
        "quality": f"ours {said['lamina']}; theirs {said[peer]}",
        "versions": row["versions"] | {peer: _version(peer)},
    }


def _version(name: str) -> str:
    python = ROOT / ".bench" / name / "bin" / "python"
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
