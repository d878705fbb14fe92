"""Rows of `bench_data.py` for augmentation: the operations of EDA over Wikipedia leads, against nlpaug and TextAttack.

Two works. "operations in memory": lists of texts in two processes on both sides; ours with the edits that made each.
"whole units": ours is the stack's unit in two worker processes: children checked against their parent and their
siblings, with their ledger, in Parquet; theirs is the same as before. Starting processes and reading WordNet counts on
neither side. All use WordNet 3.1. What NLTK wants beside it
and no registry has (the weights of its tagger, its stop words) is left empty, which makes it quicker.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nltk_files  # beside this file
import numba
import pyarrow as pa
import pyarrow.parquet as pq
from machine import ROOT, machine
from pages import leads

import lamina
from lamina.contracts.corpus import DOCUMENTS
from lamina.data.augment.plan import plan_augment
from lamina.data.units import units_of
from lamina.kit.workers import Workers

WORKERS = 2
COPIES = 4  # as the paper advises for more than 2,000 texts
ALPHA = 0.1
FOLDER = ROOT / ".cache" / "bench" / "augment"
_ROW_GROUP = 250
_AUGMENT = "lamina.data.augment.apply:augment_unit"
#: Peer: its operations, and how many of the leads it gets in a run.
PEERS = {
    "nlpaug": (("synonyms", "swap", "deletion"), 4000),
    "textattack": (("synonyms", "insertion", "swap", "deletion"), 2),
}


def documents(count: int) -> Path:
    """The first leads as documents of a corpus."""
    place = FOLDER / f"leads-{count}.parquet"
    if not place.exists():
        texts = leads("en-us")[:count]
        given = {
            "id": pa.array([f"{number:032x}" for number in range(len(texts))]),
            "text": pa.array(texts),
            "source": pa.array(["leads"] * len(texts)),
            "language": pa.array(["en"] * len(texts)),
            "split": pa.array(["train"] * len(texts)),
        }
        fields = [*DOCUMENTS, pa.field("split", pa.string())]
        fields = list({field.name: field for field in fields}.values())
        arrays = [given[f.name].cast(f.type) if f.name in given else pa.nulls(len(texts), f.type) for f in fields]
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(arrays, schema=pa.schema(fields)), place, row_group_size=_ROW_GROUP)
    return place


def tables(operations: Sequence[str], *, copies: int = COPIES, alpha: float = ALPHA) -> list[dict[str, Any]]:
    """As in the stack file."""
    own = {"thesaurus": str(nltk_files.wordnet())}
    common = {"copies": copies, "alpha": alpha}
    return [{"use": use, **common, **(own if use in ("synonyms", "insertion") else {})} for use in operations]


def ours(file: Path, operations: Sequence[str], work: Path) -> tuple[float, int]:
    """Seconds, and how many children were made. The thesaurus was read before, as it is once for a stack."""
    planned = [o.json() for o in plan_augment(tables(operations), work=FOLDER / "thesauri")]
    told = {"operations": planned, "seed": 0}
    begun = units_of([documents(20)]) * WORKERS
    with Workers(WORKERS) as workers:
        work.mkdir(parents=True)
        payloads = [told | {"unit": unit, "folder": str(work / f"begun-{n}")} for n, unit in enumerate(begun)]
        list(workers.map(_AUGMENT, payloads))
        payloads = [
            told | {"unit": unit, "folder": str(work / f"unit-{n:05d}")} for n, unit in enumerate(units_of([file]))
        ]
        begin = time.perf_counter()
        list(workers.map(_AUGMENT, payloads))
        seconds = time.perf_counter() - begin
    return seconds, sum(pq.read_metadata(place).num_rows for place in work.glob("unit-*/children.parquet"))


def in_memory(peer: str, file: Path, operations: Sequence[str]) -> tuple[float, int]:
    """The slower process' seconds, and how many texts both made; ``peer`` may be "lamina"."""
    python = sys.executable if peer == "lamina" else str(ROOT / ".bench" / peer / "bin" / "python")
    command = [python, str(Path(__file__).parent / "peer_augment.py"), peer]
    told = {"operations": list(operations), "copies": COPIES, "alpha": ALPHA, "of": WORKERS, "file": str(file)}
    told["work"] = str(FOLDER / "thesauri")
    running = [
        subprocess.Popen(
            [*command, json.dumps(told | {"part": part})],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "NLTK_DATA": str(nltk_files.folder()), "HF_HUB_OFFLINE": "1"},
        )
        for part in range(WORKERS)
    ]
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError(f"{peer} failed")
    found = [json.loads(answer.splitlines()[-1]) for answer in answers]
    return max(f["seconds"] for f in found), sum(f["children"] for f in found)


def rows(quick: bool = False, runs: int = 3) -> list[dict[str, Any]]:
    """Two rows for each peer: children a second."""
    return [row for peer in PEERS for row in _rows(peer, quick, runs)]


def _rows(peer: str, quick: bool, runs: int) -> list[dict[str, Any]]:
    operations, count = PEERS[peer]
    largest = PEERS["nlpaug"][1] // (8 if quick else 1)
    count = max(1, count // (8 if quick else 1))
    there = (ROOT / ".bench" / peer / "bin" / "python").exists()
    rates: dict[str, list[float]] = {"operations": [], "augment": [], "theirs": []}
    for _ in range(1 if quick else runs):
        shutil.rmtree(FOLDER / "work", ignore_errors=True)
        ways = {"augment": lambda: ours(documents(largest), operations, FOLDER / "work")}
        ways["operations"] = lambda: in_memory("lamina", documents(largest), operations)
        if there:
            ways["theirs"] = lambda: in_memory(peer, documents(count), operations)
        for name, way in ways.items():
            seconds, children = way()
            rates[name].append(children / seconds)
    leads = "" if count == largest else f", {count:,} leads"
    told: dict[str, Any] = {
        "peer": f"{peer}, 2 processes" + leads,
        "unit": "children/s",
        "runs": len(rates["augment"]),
        "machine": machine(),
        "versions": {"lamina": lamina.__version__, "numba": numba.__version__} | (_version(peer) if there else {}),
        "quality": f"alpha {ALPHA} on both sides; ours keeps case, marks and layout, and tells every edit",
    }
    names = f"({', '.join(operations)}; {COPIES} copies), {largest:,} Wikipedia leads"
    works = {"operations": "augment, operations in memory", "augment": "augment, whole units"}
    return [
        told | {"work": f"{said} {names}"} | _compared(rates[work], rates["theirs"]) for work, said in works.items()
    ]


def _compared(mine: list[float], other: list[float]) -> dict[str, Any]:
    if not other:
        return {"ours": statistics.median(mine), "theirs": "not installed: make bench-setup"}
    ratios = [a / b for a, b in zip(mine, other, strict=True)]
    return {
        "ours": statistics.median(mine),
        "theirs": statistics.median(other),
        "ratio": statistics.median(ratios),
        "spread": f"{min(ratios):.0f}-{max(ratios):.0f}",
    }


def _version(peer: str) -> Mapping[str, str]:
    python = ROOT / ".bench" / peer / "bin" / "python"
    code = f"import importlib.metadata as m; print(m.version('{peer}'))"
    found = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    return {peer: found.stdout.strip()}
