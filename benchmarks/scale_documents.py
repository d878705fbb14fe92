"""How the cost of a corpus grows: `python benchmarks/scale_documents.py [50000 500000 …] [--workers 2] [--keep]`.

Builds a corpus of so many documents through the default steps, duplicates included, and prints for each size documents
a second, processor seconds a document (all processes), the peak of their memory, and where the time went; then the
ratios of one size to the next, and what five million documents would take.

The documents are made of sentences of real pages (see pages.py), drawn anew for each, of every length that pages have;
a tenth are edited copies of others, some are too short, some say the same thing over and over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from machine import machine  # beside this file
from pages import FOLDER, pages

from lamina.contracts.corpus import SourceFile
from lamina.data.pipeline import DEFAULT_STEPS, SourceInput, build_corpus

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORDS = (20, 1200)  # of a document
_TARGET = 5_000_000


@dataclass
class Clock:
    """``lamina.kit.progress.Progress`` that adds up how long each task took (s), and knows which one it is."""

    seconds: dict[str, float] = field(default_factory=dict)
    doing: str = "the rest"

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> Iterator[Clock]:
        """A task under its name."""
        begun, self.doing = time.monotonic(), name
        print(f"  {name} …", file=sys.stderr, flush=True)
        yield self
        self.doing = f"after {name}"
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def advance(self, n: float = 1, **facts: Any) -> None:
        """Nothing is shown."""

    def expect(self, total: float) -> None:
        """Nothing is shown."""

    def say(self, text: str) -> None:
        """Nothing is shown."""


class Memory:
    """Watches this process and all that it started: the peak of their memory (MiB), by what was being done.

    Pages of files that are mapped count apart: the system takes them back when it needs them.
    """

    def __init__(self, clock: Clock, every: float = 0.25) -> None:
        self.peak = self.mapped = 0.0
        self.by_task: dict[str, int] = {}
        self._clock = clock
        self._every, self._over = every, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            sizes = [_megabytes(pid) for pid in _family(os.getpid())]
            own, mapped = (sum(size[kind] for size in sizes) for kind in (0, 1))
            self.peak, self.mapped = max(self.peak, own), max(self.mapped, mapped)
            self.by_task[self._clock.doing] = max(self.by_task.get(self._clock.doing, 0), round(own))


def _family(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(told[1]), []).append(int(place.parent.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _megabytes(pid: int) -> tuple[float, float]:
    """Of its own, and of files; what several processes share is divided among them."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0, 0.0
    facts = {
        name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in text.splitlines()[1:])
    }
    return facts.get("Pss_Anon", 0.0) + facts.get("Pss_Shmem", 0.0), facts.get("Pss_File", 0.0)


def documents(count: int, seed: int = 1) -> Path:
    """A JSONL file of so many documents, made at the first call."""
    place = FOLDER / f"scale-{count}.jsonl"
    if place.is_file():
        return place
    texts = pq.read_table(pages(), columns=["text"])["text"].to_pylist()
    sentences = [s for text in texts for s in _SENTENCE.split(text) if 20 <= len(s) <= 400]
    draw = random.Random(seed)
    recent: list[str] = []
    staged = place.with_suffix(".part")
    with staged.open("w", encoding="utf-8") as out:
        for number in range(count):
            text = _document(sentences, recent, draw)
            row = {"id": number, "text": text, "url": f"https://example.org/{number % 997}/{number}.html"}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    staged.rename(place)
    return place


def _document(sentences: list[str], recent: list[str], draw: random.Random) -> str:
    sort = draw.random()
    if sort < 0.1 and recent:  # a copy, some words of it changed
        words = draw.choice(recent).split(" ")
        for _ in range(int(len(words) * draw.choice([0, 0.005, 0.02, 0.1]))):
            words[draw.randrange(len(words))] = f"other{draw.randrange(10**6)}"
        return " ".join(words)
    if sort < 0.13:
        return draw.choice(sentences)[: draw.randrange(5, 60)]
    wanted = min(_WORDS[1], int(draw.lognormvariate(5.3, 0.9)) + _WORDS[0])
    some = draw.choice(sentences)
    parts: list[str] = []
    length = 0
    while length < wanted:
        sentence = some if sort < 0.15 else draw.choice(sentences)
        parts.append(sentence)
        length += sentence.count(" ") + 1
    if sort < 0.2:
        parts.append(
            f"Write to someone{draw.randrange(999)}@example.com or call +49 30 {draw.randrange(10**6, 10**7)}."
        )
    text = "".join(part + ("\n\n" if draw.random() < 0.15 else " ") for part in parts).strip()
    if len(recent) < 5000:
        recent.append(text)
    else:
        recent[draw.randrange(5000)] = text
    return text


def measured(count: int, workers: int, keep: bool) -> dict[str, Any]:
    """Build a corpus of ``count`` documents; what it took."""
    file = documents(count)
    folder = FOLDER / f"scale-build-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    source = SourceInput(name="scale", use="files", files=(SourceFile(name=file.name, path=file),), license="CC0-1.0")
    clock = Clock()
    before = _processor()
    begun = time.monotonic()
    with Memory(clock) as memory:
        report = build_corpus(
            folder / "out", folder / "work", sources=[source], steps=DEFAULT_STEPS, held_out=0.05, progress=clock,
            workers=workers,
        )  # fmt: skip
    seconds, spent = time.monotonic() - begun, _processor() - before
    parts = dict(clock.seconds) | {"the rest": seconds - sum(clock.seconds.values())}
    found = {
        "documents": count,
        "megabytes": round(file.stat().st_size / 1e6, 1),
        "kept": report["documents"],
        "seconds": round(seconds, 1),
        "documents_per_second": round(count / seconds),
        "processor_ms_per_document": round(1000 * spent / count, 3),
        "peak_mib": round(memory.peak),
        "peak_mib_of_mapped_files": round(memory.mapped),
        "peak_mib_by_task": memory.by_task,
        "seconds_by_task": {name: round(value, 1) for name, value in parts.items()},
    }
    if not keep:
        shutil.rmtree(folder)
    return found


def _processor() -> float:
    """Processor seconds of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> int:
    """Measure each size, and say how the cost grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", nargs="*", type=int, default=[50_000, 500_000])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", action="store_true", help="leave the corpora in .cache/bench")
    arguments = parser.parse_args()
    rows = []
    for count in arguments.documents:
        rows.append(measured(count, arguments.workers, arguments.keep))
        print(json.dumps(rows[-1]), flush=True)
    print(f"{machine()}; {arguments.workers} workers")
    for small, large in pairwise(rows):
        name = f"{large['documents']:,} against {small['documents']:,} documents"
        cost = large["processor_ms_per_document"] / small["processor_ms_per_document"]
        print(f"{name}: {cost:.2f} of the processor time a document")
        grown = (large["peak_mib"] - small["peak_mib"]) / (large["documents"] - small["documents"])
        memory = large["peak_mib"] + grown * (_TARGET - large["documents"])
        print(f"{name}: {1024 * grown:.2f} KiB more memory a document; {memory:,.0f} MiB for {_TARGET:,}")
        hours = large["seconds"] * _TARGET / large["documents"] * max(cost, 1) / 3600
        print(f"{_TARGET:,} documents would take about {hours:.1f} h here")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
