"""What each part of a transformer does: small models, a fixed number of steps an arm, three seeds, intervals.

`python examples/claims/run.py [--seeds 3] [--only norms …] [--workers 2]`: on the documents of
``examples/gpt-from-scratch``. Each run's result is a line in ``.lamina/results.jsonl`` beside this file; called again,
only what is missing is run. The table goes into ``.lamina/table.md``; `docs/claims.md` says what it means.

norms       none, before and after each part, LayerNorm and RMSNorm: the largest rate that still learns, spikes
forward     ReLU, GELU and SwiGLU of as many parameters
embeddings  random, Word2Vec and GloVe, frozen and tuned
heads       tied and untied
cross       the translator of ``examples/translator`` (trained before): its sources exchanged
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.tokens import Batch
from lamina.kit.errors import LaminaError
from lamina.kit.log import MetricsWriter, read_metrics
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.kit.statistics import student_quantile

HERE = Path(__file__).resolve().parent
STATE = HERE / ".lamina"
RESULTS, TABLE, DATA = STATE / "results.jsonl", STATE / "table.md", STATE / "tokens.npz"
GPT, TRANSLATOR = (HERE.parent / name / "lamina.toml" for name in ("gpt-from-scratch", "translator"))
ROWS, LENGTH, TOKENS = 8, 64, 1_500_000
STEPS = {"norms": 400, "forward": 1500, "embeddings": 1500, "heads": 1500}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
RATE = 0.004  # of all but the norms
LEARNS = 0.5  # nats under the loss of the first steps: less is no learning
SPIKE = 0.5  # nats above the mean of the ten steps before
EXCHANGED = 300  # held-out pairs that the translator is asked

Arm = dict[str, Any]


def arms(seeds: int) -> list[Arm]:
    """Everything that is to be run; the dictionaries are the keys of the results."""
    found: list[Arm] = []
    for seed in range(seeds):
        for placement, kind in (("none", "layer"), *((p, k) for p in ("pre", "post") for k in ("layer", "rms"))):
            norm = "none" if placement == "none" else f"{placement} {kind}"
            found += [{"claim": "norms", "arm": norm, "rate": rate, "seed": seed} for rate in RATES]
        found += [{"claim": "forward", "arm": a, "rate": RATE, "seed": seed} for a in ("relu", "gelu", "swiglu")]
        found += [{"claim": "heads", "arm": a, "rate": RATE, "seed": seed} for a in ("tied", "untied")]
        for init in ("random", "word2vec", "glove"):
            for how in ("tuned", "frozen"):
                found.append({"claim": "embeddings", "arm": f"{init} {how}", "rate": RATE, "seed": seed})
    return found


def prepare() -> None:
    """The tokens of the documents and vectors of their ids, made once."""
    if DATA.is_file():
        return
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.vectors.glove import GloveParameters, train_glove
    from lamina.model.vectors.tables import embedding_table
    from lamina.model.vectors.vocabulary import read_ids
    from lamina.model.vectors.word2vec import Word2VecParameters, train_word2vec
    from lamina.recipes.corpus import record_batches
    from lamina.recipes.plan import Plan
    from lamina.recipes.stack import open_stack

    progress, stack = open_progress(), open_stack(GPT)
    plan = Plan(stack, Workshop(stack.state, progress), progress)
    corpus, folder = (plan.workshop.run(getattr(plan, name)) for name in ("corpus", "tokenizer"))
    tokenizer = open_tokenizer(folder)
    found: dict[str, NDArray[Any]] = {}
    for split, most in (("train", TOKENS), ("held_out", 60_000)):
        ids: list[int] = []
        for batch in record_batches(corpus, split.replace("_", "-")):
            texts = [text[:20_000] for text in batch["text"].to_pylist()]
            ids += [i for row in tokenizer.encode_batch(texts) for i in (*row, tokenizer.end_ids[0])]
        found[split] = np.array(ids[-most:] if split == "train" else ids[:most], np.int64)
    train = found["train"]
    ends = np.append(np.flatnonzero(train == tokenizer.end_ids[0]) + 1, len(train))
    pieces = [tokenizer.token_of(i) or f"<{i}>" for i in range(tokenizer.vocabulary)]
    vocabulary, words = read_ids(train, np.unique(ends), pieces=pieces)
    settings: Any = {"width": 64, "seed": 1, "threads": 2}
    with tempfile.TemporaryDirectory() as work:
        made = {
            "word2vec": train_word2vec(vocabulary, words, parameters=Word2VecParameters(**settings), progress=progress),
            "glove": train_glove(
                vocabulary, words, parameters=GloveParameters(**settings), work=Path(work), progress=progress
            ),
        }
    for name, trained in made.items():
        found[name] = embedding_table(trained.vectors, pieces, width=64, std=0.02)
    STATE.mkdir(exist_ok=True)
    np.savez(DATA, vocabulary=tokenizer.vocabulary, **found)  # type: ignore[arg-type]


@dataclass
class Windows:
    """A ``BatchStream`` of windows at places that seed and number of the batch decide."""

    tokens: NDArray[np.int64]
    seed: int
    number: int = 0

    def __next__(self) -> Batch:
        self.number += 1
        starts = np.random.default_rng((self.seed, self.number)).integers(0, len(self.tokens) - LENGTH - 1, ROWS)
        places = starts[:, None] + np.arange(LENGTH)
        positions = np.broadcast_to(np.arange(LENGTH), places.shape).copy()
        return Batch(
            inputs=self.tokens[places],
            targets=self.tokens[places + 1],
            segments=np.ones_like(places),
            positions=positions,
        )

    def state(self) -> dict[str, Any]:
        """The number of the last batch."""
        return {"number": self.number}

    def restore(self, state: Any) -> None:
        """Go on from there."""
        self.number = int(state["number"])


def model_of(arm: Arm, data: Any) -> Any:
    """A fresh model of the arm, 64 wide: six blocks where norms are compared, else three."""
    import torch

    from lamina.model.architectures.gpt import llama
    from lamina.model.spec import FeedForwardSpec, NormSpec
    from lamina.model.transformer import Transformer

    claim, name = arm["claim"], arm["arm"]
    spec = llama(
        vocabulary=int(data["vocabulary"]),
        width=64,
        layers=6 if claim == "norms" else 3,
        heads=2,
        inner=176,
        max_positions=LENGTH,
        tied=name != "untied" and claim != "embeddings",
    )
    assert spec.decoder is not None
    block, end = spec.decoder.blocks[0], spec.decoder.norm
    if claim == "norms":
        placement, _, kind = name.partition(" ")
        block = replace(block, placement=placement, norm=NormSpec(kind=kind or "layer", eps=1e-5))
        end = block.norm if placement == "pre" else None
    if claim == "forward" and name != "swiglu":
        block = replace(block, feedforward=FeedForwardSpec(inner=264, activation=name))
    decoder = replace(spec.decoder, blocks=(block,) * len(spec.decoder.blocks), norm=end)
    torch.manual_seed(arm["seed"])
    model = Transformer(replace(spec, decoder=decoder))
    if claim == "embeddings":
        init, how = name.split()
        table = model.stack.embeddings.token.weight
        if init != "random":
            table.data.copy_(torch.from_numpy(data[init]))
        table.requires_grad_(how == "tuned")
    return model


def run(arm: Arm) -> Arm:
    """Train one arm and measure it: nats a token on held-out documents, how the loss went."""
    import torch

    from lamina.model.train.loop import train
    from lamina.model.train.parameters import TrainParameters

    torch.set_num_threads(1)
    data = np.load(DATA)
    held_out = Windows(data["held_out"], seed=10_000)
    steps, began = STEPS[arm["claim"]], time.monotonic()
    parameters = TrainParameters(
        steps=steps, learning_rate=arm["rate"], seed=arm["seed"], validate_every=steps, precision="float32"
    )
    with tempfile.TemporaryDirectory() as work:
        metrics = MetricsWriter(Path(work) / "metrics.jsonl")
        found, said = math.nan, ""
        try:
            result = train(
                model_of(arm, data),
                Windows(data["train"], seed=arm["seed"]),
                parameters=parameters,
                work=Path(work),
                progress=open_progress("quiet"),
                metrics=metrics,
                held_out=[next(held_out) for _ in range(40)],
            )
            found = math.nan if result.held_out is None else result.held_out
        except LaminaError as error:
            said = str(error).split("\n")[0]
        losses = [row["loss_nats"] for row in read_metrics(metrics.path) if "loss_nats" in row]
    return arm | {
        "held_out": None if math.isnan(found) else found,
        "said": said,
        "seconds": time.monotonic() - began,
        **course(losses),
    }


def course(losses: list[float | None]) -> dict[str, Any]:
    """Whether a run learned, and how many of its steps were spikes."""
    known = [math.inf if loss is None else loss for loss in losses]
    spikes = sum(
        known[i] > statistics.fmean(known[i - 10 : i]) + SPIKE for i in range(10, len(known)) if math.isfinite(known[i])
    )
    spikes += sum(math.isinf(loss) for loss in known)
    last = known[-max(1, len(known) // 10) :]
    learned = bool(known) and statistics.fmean(last) < known[0] - LEARNS
    return {"first": losses[0] if losses else None, "spikes": spikes, "learned": learned}


def cross() -> Arm | None:
    """The translator's chrF and BLEU on held-out pairs with their own sources, and with each other's."""
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.model.evaluate.translation import translate_and_score
    from lamina.recipes.rows import HELD_OUT, read_split

    state = TRANSLATOR.parent / ".lamina"
    models = sorted((state / "runs").glob("*/model"), key=lambda p: p.stat().st_mtime)
    shelves = sorted((state / "rows").glob("*/held_out.parquet"), key=lambda p: p.stat().st_mtime)
    if not models or not shelves:
        return None
    rows = read_split(shelves[-1].parent, HELD_OUT)[:EXCHANGED]
    model, tokenizer = open_model(models[-1]).eval(), open_tokenizer(models[-1])
    others = rows[1:] + rows[:1]
    found: Arm = {"claim": "cross", "arm": "translator", "rate": 0, "seed": 0}
    for name, given in (("own", rows), ("exchanged", others)):
        pairs = [(a["source"], b["target"]) for a, b in zip(given, rows, strict=True)]
        for score in translate_and_score(model, tokenizer, pairs).scores:
            found[f"{name} {score.name.split(': ')[-1]}"] = [score.value, score.error]
    return found


def interval(differences: list[float]) -> str:
    """The mean of differences of seeds, with a 95 % interval of Student's t."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return f"{mean:+.3f}"
    half = student_quantile(0.975, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def table(done: list[Arm]) -> str:
    """All results as Markdown; differences are from the first arm of a claim, seed by seed."""
    lines = ["| claim | arm | rate | runs | learned | spikes | held-out nats | difference, 95 % |", "|" + "---|" * 8]
    base: dict[str, dict[int, float]] = {}
    groups: dict[tuple[str, str, float], list[Arm]] = {}
    for row in done:
        groups.setdefault((row["claim"], row["arm"], row["rate"]), []).append(row)
    for (claim, name, rate), rows in sorted(groups.items(), key=lambda g: (list(STEPS).index(g[0][0]), g[0])):
        nats = {row["seed"]: row["held_out"] for row in rows if row["held_out"] is not None}
        first = base.setdefault(claim, nats)
        shared = sorted(first.keys() & nats.keys())
        told = (
            interval([nats[s] - first[s] for s in shared]) if shared and first is not nats and claim != "norms" else ""
        )
        mean = f"{statistics.fmean(nats.values()):.3f}" if nats else "none"
        learned, spikes = sum(row["learned"] for row in rows), sum(row["spikes"] for row in rows)
        lines.append(f"| {claim} | {name} | {rate:g} | {len(rows)} | {learned} | {spikes} | {mean} | {told} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=[*STEPS, "cross"], default=[*STEPS, "cross"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    prepare()
    done = list(map(json.loads, RESULTS.read_text().splitlines())) if RESULTS.is_file() else []
    ran = {(row["claim"], row["arm"], row["rate"], row["seed"]) for row in done}
    todo = [a for a in arms(options.seeds) if a["claim"] in options.only and tuple(a.values()) not in ran]
    began = time.monotonic()
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for number, future in enumerate(as_completed([pool.submit(run, arm) for arm in todo]), 1):
            done.append(future.result())
            with RESULTS.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            row, left = done[-1], (time.monotonic() - began) / number * (len(todo) - number)
            said = f"{row['claim']}: {row['arm']}, rate {row['rate']:g}: {row['held_out']}"
            print(f"{number}/{len(todo)} {said}, {left:.0f} s to go", flush=True)
    print(table(done))
    TABLE.write_text(table(done) + "\n")
    if "cross" in options.only:
        found = cross()
        print("cross: train examples/translator first" if found is None else json.dumps(found))


if __name__ == "__main__":
    main()
