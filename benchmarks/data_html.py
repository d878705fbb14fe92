"""Rows of `bench_data.py` for html: the main text of pages whose text is known, against trafilatura.

Ours is the web source with ``extract = "fast"``: saved pages read in units by two worker processes, each parser in its
jail, with title, author, date, licence and language, written to Parquet. Theirs is `trafilatura.extract` over the same
pages in a pool of two processes, text alone, as it comes and in its quick form (``fast=True``). Starting the processes
counts on both sides. Quality is the F of the bag of words of a page against the text it was made from."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import html_pages  # beside this file
import numpy as np
import polars as pl
import trafilatura
from machine import ROOT, machine

import lamina
from lamina.contracts.corpus import SourceFile
from lamina.data.collection import SourceInput, collect
from lamina.data.executors import Local
from lamina.kit.identity import document_id
from lamina.kit.progress import open_progress

WORKERS = 2
FOLDER = ROOT / ".cache" / "bench" / "html"
FORMS = {"quick": "trafilatura, fast=True, 2 processes", "usual": "trafilatura, as it comes, 2 processes"}
_DRAWS = 10_000


def saved(pages: Sequence[Mapping[str, Any]]) -> list[Path]:
    """The pages as files, in a folder that is made anew."""
    folder = FOLDER / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = []
    for number, page in enumerate(pages):
        files.append(folder / f"{number:05d}.html")
        files[-1].write_text(page["html"], encoding="utf-8")
    return files


def ours(files: Sequence[Path], work: Path) -> tuple[float, dict[str, str]]:
    """Seconds, and the text of each page that had one."""
    begin = time.perf_counter()
    inputs = tuple(SourceFile(name=file.name, path=file) for file in files)
    source = SourceInput(name="pages", use="web", parameters={"extract": "fast"}, files=inputs)
    with Local(WORKERS) as executor:
        found = collect(source, work, open_progress("quiet"), executor)
    seconds = time.perf_counter() - begin
    parts = [pl.read_parquet(unit / "documents.parquet", columns=["id", "text"]) for unit in found.units]
    texts = dict(pl.concat(parts).iter_rows())
    return seconds, {file.name: texts.get(document_id("pages", file.name), "") for file in files}


def theirs(files: Sequence[Path], form: str, work: Path) -> tuple[float, dict[str, str]]:
    """As ``ours``."""
    work.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).parent / "peer_trafilatura.py"
    begin = time.perf_counter()
    command = [sys.executable, str(script), form, str(WORKERS), str(files[0].parent), str(work / "texts.json")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin, json.loads((work / "texts.json").read_text())


def scores(texts: Mapping[str, str], files: Sequence[Path], pages: Sequence[Mapping[str, Any]]) -> Any:
    """F of each page, an array of float64."""
    found = []
    for file, page in zip(files, pages, strict=True):
        bag = html_pages.words(texts.get(file.name) or "")
        precision, recall = html_pages.agreement(bag, html_pages.words(page["known"]))
        found.append(2 * precision * recall / max(1e-9, precision + recall))
    return np.array(found)


def interval(difference: Any) -> tuple[float, float]:
    """95 % of the means of samples of pages, drawn with replacement."""
    draws = np.random.default_rng(0).integers(0, len(difference), (_DRAWS, len(difference)))
    low, high = np.percentile(difference[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def rows(quick: bool = False, runs: int = 3) -> list[dict[str, Any]]:
    """A row for each form of trafilatura: pages a second, and F on the pages that the extractor was not made with."""
    pages = html_pages.pages().to_pylist()
    pages = pages[:: len(pages) // 100] if quick else pages
    files = saved(pages)
    held_out = np.array([page["held_out"] for page in pages])
    times: dict[str, list[float]] = {"ours": [], **{form: [] for form in FORMS}}
    texts: dict[str, dict[str, str]] = {}
    for _ in range(1 if quick else runs):
        shutil.rmtree(FOLDER / "work", ignore_errors=True)
        for name in times:
            work = FOLDER / "work" / name
            seconds, texts[name] = ours(files, work) if name == "ours" else theirs(files, name, work)
            times[name].append(seconds)
    mine = scores(texts["ours"], files, pages)
    found = []
    for form, peer in FORMS.items():
        other = scores(texts[form], files, pages)
        ratios = [b / a for a, b in zip(times["ours"], times[form], strict=True)]
        low, high = interval((mine - other)[held_out])
        found.append(
            {
                "work": f"html, main text of {len(pages):,} pages (ours with metadata, jailed, to Parquet)",
                "peer": peer,
                "unit": "pages/s",
                "ours": len(pages) / statistics.median(times["ours"]),
                "theirs": len(pages) / statistics.median(times[form]),
                "ratio": statistics.median(ratios),
                "spread": f"{min(ratios):.1f}-{max(ratios):.1f}",
                "runs": len(ratios),
                "quality": f"F on {int(held_out.sum())} pages held out: {mine[held_out].mean():.3f} against"
                f" {other[held_out].mean():.3f}, difference {low:+.3f} to {high:+.3f}; on all {mine.mean():.3f} against"
                f" {other.mean():.3f}",
                "versions": {"lamina": lamina.__version__, "trafilatura": trafilatura.__version__},
                "machine": machine(),
            }
        )
    return found
