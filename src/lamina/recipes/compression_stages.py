"""Stages of ``lamina compress``: what a plan costs in quality, how fast each is in turns, and the artefact taken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lamina.deployment.quality import TABLE
from lamina.kit.durable import atomic_write
from lamina.kit.log import MetricsWriter, read_metrics
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.compression_report import card_section, figure_file, report_page
from lamina.recipes.evaluation import held_out

QUALITY, SPEED, REPORT, FIGURE = "quality.json", "speed.json", "report.html", "frontier.svg"
_ROUNDS = 3


@imports("lamina.model.evaluate.divergence", "lamina.deployment.compress.quantize")
def measure_quality(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """Writes ``quality.json``: bits per byte, perplexity, divergence from ``inputs["parent"]``, tasks, parameters.

    Without a parent the model is the parent. What cannot be compared token by token (another vocabulary) is null.
    """
    from lamina.deployment.compress.quantize import open_served
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.evaluate.bits_per_byte import bits_per_byte
    from lamina.model.evaluate.divergence import divergence

    folder = inputs["served"] / "model"
    model, tokenizer = open_served(folder), open_tokenizer(folder)
    texts = [text for _, text in held_out(inputs["corpus"], tokenizer, parameters["tokens"])]
    found: dict[str, Any] = {"kl": None, "agreement": None, "perplexity": None}
    parent = open_served(inputs["parent"] / "model") if "parent" in inputs else model
    if parent.spec.stack.embeddings.vocabulary == model.spec.stack.embeddings.vocabulary:
        found |= asdict(divergence(model, parent, tokenizer, texts, progress=progress))
    else:
        theirs = open_tokenizer(inputs["parent"] / "model")
        texts = [text for _, text in held_out(inputs["corpus"], theirs, parameters["tokens"])]
        before = bits_per_byte(parent, theirs, texts, progress=progress).value
        after = bits_per_byte(model, tokenizer, texts, progress=progress).value
        found |= {"bits_per_byte": after, "parent_bits_per_byte": before, "change": after / before - 1.0}
    del parent
    if parameters["tasks"]:
        from lamina.recipes.tasks import run_tasks

        files = [Path(parameters["context"]["folder"]) / file for file, _ in parameters["tasks"]]
        scores = run_tasks(files, model, tokenizer, draws=0, progress=progress)
        found["tasks"] = {name: task["scores"][0] for name, task in scores.items()}
    found["parameters"] = _weights(model)
    atomic_write(staging / QUALITY, json.dumps(found, indent=1).encode())


@imports("lamina.deployment.timing")
def measure_speed(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """Writes ``speed.json``: for each input by its name the medians of rounds in which the plans take turns."""
    from lamina.deployment.timing import PROMPT, Timing, medians, time_served

    log = MetricsWriter(work / "rounds.jsonl")
    names, done = parameters["plans"], list(read_metrics(log.path))
    with progress.task("speed", total=_ROUNDS * len(names), unit="runs", done=len(done)) as task:
        for place in range(len(done), _ROUNDS * len(names)):
            name = names[place % len(names)]
            timing = time_served(inputs[name] / "model", device=parameters["context"]["device"], seed=place)
            log.write(place, plan=name, **asdict(timing))
            task.advance(1, plan=name, tokens_per_s=1 / timing.itl)
    rows, found = list(read_metrics(log.path)), {}
    rate = max(row["read_rate"] for row in rows)  # what else runs on the machine only makes it less
    for name in names:
        own = [{key: row[key] for key in ("ttft", "itl", "bytes_per_token")} for row in rows if row["plan"] == name]
        middle = medians([Timing(**times, read_rate=rate) for times in own])
        found[name] = asdict(middle) | {"bandwidth_share": middle.bandwidth_share, "prompt": PROMPT}
    atomic_write(staging / SPEED, json.dumps(found, indent=1).encode())


@imports("lamina.deployment.seal")
def write_compressed(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The table as ``compression.json``, where times were measured page and picture; and where a plan was taken, its
    ``model/`` with table and card in it, and a seal of its own."""
    table = parameters["table"]
    data = json.dumps(table, indent=1, ensure_ascii=False).encode()
    atomic_write(staging / TABLE, data)
    if table["machine"] is not None:
        atomic_write(staging / FIGURE, figure_file(table).encode())
        atomic_write(staging / REPORT, report_page(table).encode())
    if table["chosen"] is None:
        return
    from lamina.deployment.seal import make_seal

    shutil.copytree(inputs["served"] / "model", staging / "model")
    atomic_write(staging / "model" / TABLE, data, mode=0o644)
    own = Path(parameters["context"]["card"])
    card = own.read_text(encoding="utf-8") if own.is_file() else f"# {table['stack']}\n"
    atomic_write(staging / "model" / "README.md", f"{card.rstrip()}\n\n{card_section(table)}".encode(), mode=0o644)
    atomic_write(staging / "seal.json", json.dumps(make_seal(staging / "model")).encode())


def _weights(model: Any) -> int:
    from lamina.model.layers.hollow import hollow
    from lamina.model.transformer import Transformer

    with hollow():
        return Transformer(model.spec).parameter_count
