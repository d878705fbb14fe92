"""Rows of `bench_data.py` for tokenization: pages to token shards, against `map` of Hugging Face's datasets.

The same tokenizer (SmolLM2's) and two processes on both sides. Ours reads Parquet and writes shards with their index,
loss marks, ids and digest; starting the workers counts. Theirs maps `encode_batch_fast` over batches of 1,000 pages of
a data set that lies in Arrow files already, into Arrow files; starting its processes counts, loading the set does not.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import data_rules  # beside this file
import numba
import polars as pl
import tokenizers
from machine import ROOT, machine, smollm2

import lamina
from lamina.data.shards import write_shards
from lamina.kit.tokenizer import open_tokenizer

WORKERS = 2
FOLDER = ROOT / ".cache" / "bench" / "tokenize"


def corpus(count: int | None) -> Path:
    """A corpus' folder with the pages as training documents."""
    place = FOLDER / f"corpus-{count or 'all'}"
    if not place.is_dir():
        (place / "data").mkdir(parents=True)
        shutil.copy(data_rules.documents(count), place / "data" / "train-00000.parquet")
    return place


def ours(folder: Path, work: Path) -> tuple[float, int]:
    """Seconds and tokens, without those that stand between documents."""
    begin = time.perf_counter()
    shards = write_shards(folder, work, open_tokenizer(smollm2()), workers=WORKERS)
    return time.perf_counter() - begin, shards.total_tokens - 2 * shards.documents


def theirs(folder: Path, work: Path) -> tuple[float, int, str]:
    """Seconds, tokens, and the library's version."""
    file, tokenizer = folder / "data" / "train-00000.parquet", smollm2() / "tokenizer.json"
    python, script = ROOT / ".bench" / "datatrove" / "bin" / "python", Path(__file__).parent / "peer_datasets.py"
    done = subprocess.run(
        [str(python), str(script), str(file), str(tokenizer), str(work), str(WORKERS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], told["tokens"], told["version"]


def rows(quick: bool = False, runs: int = 3) -> list[dict[str, Any]]:
    """One row: megabytes of text a second."""
    folder = corpus(2000 if quick else data_rules.PAGES)
    texts = pl.scan_parquet(folder / "data" / "train-00000.parquet").select(pl.col("text").str.len_bytes().sum())
    megabytes = texts.collect().item() / 1e6
    row: dict[str, Any] = {
        "work": f"tokenize to shards, {megabytes:.0f} MB of pages, SmolLM2's tokenizer",
        "peer": "datasets.map with encode_batch_fast, 2 processes",
        "unit": "MB/s",
        "machine": machine(),
        "versions": {
            "lamina": lamina.__version__,
            "numba": numba.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
    there = (ROOT / ".bench" / "datatrove" / "bin" / "python").exists()
    times: tuple[list[float], list[float]] = ([], [])
    tokens = [0, 0]
    for _ in range(1 if quick else runs):
        shutil.rmtree(FOLDER / "work", ignore_errors=True)
        seconds, tokens[0] = ours(folder, FOLDER / "work" / "ours")
        times[0].append(seconds)
        if there:
            seconds, tokens[1], version = theirs(folder, FOLDER / "work" / "theirs")
            times[1].append(seconds)
    row |= {"ours": megabytes / statistics.median(times[0]), "runs": len(times[0])}
    if not there:
        return [row | {"theirs": "not installed: make bench-setup"}]
    ratios = [b / a for a, b in zip(*times, strict=True)]
    # What is written in a page like a token of the model's own (<filename>) stays words on our side.
    apart = abs(tokens[0] - tokens[1])
    return [
        row
        | {
            "theirs": megabytes / statistics.median(times[1]),
            "ratio": statistics.median(ratios),
            "spread": f"{min(ratios):.1f}-{max(ratios):.1f}",
            "quality": f"{tokens[0]:,} tokens against {tokens[1]:,}"
            + (", apart where pages hold the names of special tokens, which stay words in ours" if apart else ""),
            "versions": row["versions"] | {"datasets": version},
        }
    ]
