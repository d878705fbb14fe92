"""Our recipe for the same texts: `quality_ours.py FOLDER data|speed|SEED [SECONDS [SPEED]]`.

The recipe is `lamina train` of the stack in FOLDER without a preset and without chat rows (replay = 0): a tokenizer of
the corpus' own, the size that the scaling law chooses for the time, its batch and its rate. "data" builds the corpus
and writes train.txt and held_out.json, which all sides read; "speed" measures this machine; with a SEED it trains for
SECONDS, by the clock, or, with a SPEED (fixed,each: see model.train.scaling.Speed), for as many steps as that speed
gives in the time. Prints a JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import torch

from lamina.data.shards import Shards
from lamina.kit.durable import atomic_write
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.evaluate.bits_per_byte import bits_per_byte
from lamina.recipes import sizing
from lamina.recipes.plan import Plan
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.training import train_on_parts

HELD = 400_000  # bytes of held-out texts that are measured, at least


def opened(folder: Path, *assignments: str) -> tuple[Stack, Plan]:
    """The stack and its stages."""
    stack = open_stack(folder / "lamina.toml", ["model.train.replay=0", *assignments])
    progress = open_progress("plain", stream=sys.stderr)
    return stack, Plan(stack, Workshop(stack.state, progress), progress)


def write_texts(folder: Path) -> dict[str, Any]:
    """The corpus' two splits, as the other side reads them."""
    _, plan = opened(folder)
    corpus = plan.workshop.run(plan.corpus)
    rows = pl.read_parquet(corpus / "data" / "*.parquet").sort("id")
    train, held, size = rows.filter(pl.col("split") == "train")["text"].to_list(), [], 0
    for text in rows.filter(pl.col("split") != "train")["text"]:
        if size < HELD:
            held.append(text)
            size += len(text.encode())
    (folder / "train.txt").write_text("\n\n".join(train))
    (folder / "held_out.json").write_text(json.dumps(held))
    return {"documents": len(train), "bytes": sum(len(text.encode()) for text in train), "held_out": size}


def trained(folder: Path, seed: int, seconds: float, speed: str | None) -> dict[str, Any]:
    """Train and measure."""
    settings = [f"model.train.budget='{seconds:.0f}s'", f"model.train.seed={seed}"]
    stack, plan = opened(folder, *settings)
    run = plan.workshop.run
    assert stack.model is not None
    assert stack.model.train is not None
    run(plan.corpus)
    tokenizer = open_tokenizer(run(plan.tokenizer))
    tokens = run(plan.tokens)
    if speed is not None:
        fixed, each = map(float, speed.split(","))
        place = stack.state / "machines" / f"{sizing._machine(torch.device('cpu'))}-{tokenizer.vocabulary}.json"
        atomic_write(place, json.dumps({"speed": {"fixed": fixed, "each": each}}).encode())
    chosen = run(plan.sizing)
    base = run(plan.base)
    found, section = sizing.read_sizing(chosen), sizing.sized(stack.model.train, chosen)
    if speed is not None:
        steps = max(1, found["tokens"] // (found["rows"] * found["length"]))
        section = replace(section, budget=None, steps=steps, pace="steps")
    documents = Shards(tokens / "documents")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        staging = Path(work) / "run"
        staging.mkdir()
        (Path(work) / "work").mkdir()
        train_on_parts(
            staging,
            Path(work) / "work",
            base,
            [(documents, 1.0)],
            section,
            plan.progress,
            corpus_tokens=documents.total_tokens,
        )
        told = json.loads((staging / "run.json").read_bytes())
        texts = json.loads((folder / "held_out.json").read_text())
        value = bits_per_byte(open_model(staging / "model"), tokenizer, texts).value
    shape = found["shape"]
    return {
        "bits_per_byte": value,
        "steps": told["steps"],
        "seconds": told["seconds"],
        "shape": f"{shape['layers']} x {shape['width']}",
    }


def main() -> None:
    """One of the three."""
    folder, what, *rest = Path(sys.argv[1]), *sys.argv[2:]
    if what == "data":
        print(json.dumps(write_texts(folder)))
    elif what == "speed":
        _, plan = opened(folder)
        vocabulary = open_tokenizer(plan.workshop.run(plan.tokenizer)).vocabulary
        with tempfile.TemporaryDirectory() as cache:
            speed = sizing._speed(Path(cache), vocabulary, 600.0, torch.device("cpu"), plan.progress)
        print(json.dumps(asdict(speed)))
    else:
        print(json.dumps(trained(folder, int(what), float(rest[0]), rest[1] if rest[1:] else None)))


if __name__ == "__main__":
    main()
