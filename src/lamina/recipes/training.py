"""Stages of the model layer; each runs in a child process of its own (see ``kit.stages``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.config import build, seconds
from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.log import MetricsWriter
from lamina.kit.progress import Progress
from lamina.recipes.mixing import Mixing, open_mixing
from lamina.recipes.objectives import open_stream
from lamina.recipes.stack import ImproveSection, TrainSection

if TYPE_CHECKING:
    from lamina.data.batches import Part
    from lamina.data.mixture import Mixture
    from lamina.data.shards import Shards
    from lamina.model.train import TrainParameters, TrainResult

_DEFAULT_BUDGET = "2m"
_SMALL = 5_000_000  # parameters
_RATES = {"lora": 4e-4, "full": 5e-4}  # peaks that did well on models of 1M to 135M parameters
_KEPT = {"rank", "alpha", "batch", "length", "seed"}  # what feedback training takes over from [model.train]


def import_base(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The base model as a Hugging Face folder."""
    from lamina.recipes.models import import_folder

    progress.say(f"reading the base model {parameters['location']}")
    import_folder(Path(parameters["context"]["path"]), staging)


def train_on_documents(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The base trained on documents for the stack's objective, and on chat rows made from them."""
    from lamina.data.shards import Shards

    section = build(TrainSection, parameters["train"], where="model.train")
    documents = Shards(inputs["tokens"] / "documents")
    mixing = open_mixing(parameters, inputs, documents, 1.0 - section.replay)
    parts: list[tuple[Shards, float] | Part] = []
    if section.objective == "next-sentence":
        if mixing is not None:
            raise ConfigError('balances documents, and "next-sentence" learns from sentences', where="data.mixture")
        parts.append((Shards(inputs["tokens"] / "sentences"), 1.0))
    else:
        parts += [(documents, 1.0 - section.replay)] if mixing is None else mixing.parts(documents)
    if section.replay:
        parts.append((Shards(inputs["tokens"] / "replay"), section.replay))
    size = documents.total_tokens
    frozen = bool(parameters.get("frozen_embeddings"))
    _train(staging, work, inputs["base"], parts, section, progress, corpus_tokens=size, mixing=mixing, frozen=frozen)
    atomic_write(staging / "lamina.json", json.dumps(parameters["context"]["stack"], indent=1).encode())


def train_on_feedback(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """A fresh adapter on all accepted rows, with document and chat rows mixed in so that nothing else is lost."""
    import pyarrow.parquet as pq

    from lamina.data.replay import write_rows
    from lamina.data.shards import Shards
    from lamina.kit.tokenizer import open_tokenizer

    settings = build(ImproveSection, parameters["improve"], where="interface.improve")
    start = inputs["start"] / parameters["part"]
    rows = [r for r in pq.read_table(inputs["snapshot"] / "sft.parquet").to_pylist() if r["split"] == "train"]
    if not rows:
        raise InputError("the snapshot holds no row to learn from", where=str(inputs["snapshot"]))
    tokenizer = open_tokenizer(start)
    feedback = write_rows(
        ((row["prompt"], row["completion"]) for row in rows), work / "feedback", tokenizer, progress=progress
    )
    parts: list[tuple[Shards, float] | Part] = [(feedback, 1.0 - settings.replay)]
    if "tokens" in inputs and settings.replay:
        parts += [(Shards(p), settings.replay / 2) for p in sorted(inputs["tokens"].iterdir()) if p.is_dir()]
    stack = parameters["context"]["stack"]
    trained = stack["model"].get("train") or {}
    given = {k: v for k, v in trained.items() if k in _KEPT} | {
        "method": trained.get("method", "lora"),
        "learning_rate": settings.learning_rate,
        "replay": settings.replay if len(parts) > 1 else 0.0,
        "epochs": settings.epochs,
    }
    section = build(TrainSection, given, where="interface.improve")
    longest = seconds(settings.budget, where="interface.improve.budget")
    _train(staging, work, start, parts, section, progress, corpus_tokens=feedback.total_tokens, longest=longest)
    atomic_write(staging / "lamina.json", json.dumps(stack, indent=1).encode())


def make_served(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The artefact that answers, and its parity seal."""
    from lamina.deployment.compress.quantize import quantize, save_served
    from lamina.deployment.seal import make_seal
    from lamina.model.checkpoint import open_model

    source = inputs["source"] / parameters["part"]
    model = open_model(source)
    if parameters["quantize"] == "int8":
        model = quantize(model)
    save_served(model, staging / "model", like=source, quantize=parameters["quantize"])
    atomic_write(staging / "seal.json", json.dumps(make_seal(staging / "model")).encode())


def _train(
    staging: Path,
    work: Path,
    base: Path,
    parts: list[tuple[Shards, float] | Part],
    section: TrainSection,
    progress: Progress,
    *,
    corpus_tokens: int,
    longest: float | None = None,
    mixing: Mixing | None = None,
    frozen: bool = False,
) -> None:
    import torch

    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model, save_model
    from lamina.model.lora import merge_lora, save_lora
    from lamina.model.train import train

    torch.manual_seed(section.seed)
    model = open_model(base)
    model.stack.embeddings.token.weight.requires_grad_(not frozen)
    if model.parameter_count < _SMALL:
        torch.set_num_threads(1)  # its products are too short to share
    stream, packed = open_stream(parts, section, open_tokenizer(base), model.spec)
    mixtures: list[Mixture] = []

    def planned(steps: int) -> None:
        progress.say(_plan_in_words(steps, section, corpus_tokens))
        if mixing is not None:
            mixtures.append(mixing.settle(packed, steps * section.batch * section.accumulate))
            progress.say(mixtures[-1].in_words())

    result = train(
        model,
        stream,
        parameters=_parameters(section, corpus_tokens, longest),
        work=work,
        progress=progress,
        metrics=MetricsWriter(work / "metrics.jsonl"),
        merge=False,
        planned=planned,
    )
    if section.method == "lora":
        save_lora(model, staging / "adapter", base=str(base.name))
        merge_lora(model)
    save_model(model, staging / "model", like=base)
    atomic_write(staging / "metrics.jsonl", (work / "metrics.jsonl").read_bytes())
    facts = _facts(section, result) | {"corpus_tokens": corpus_tokens}
    facts |= {"mixture": mixtures[-1].facts()} if mixtures else {}
    atomic_write(staging / "run.json", json.dumps(facts, indent=1).encode())


def _facts(section: TrainSection, result: TrainResult) -> dict[str, Any]:
    """What a run says of itself."""
    return {
        "objective": section.objective,
        "method": section.method,
        "steps": result.steps,
        "tokens": result.tokens,
        "seconds": round(result.seconds, 1),
        "loss_nats": result.loss,
        "precision": result.precision,
    }


def _parameters(section: TrainSection, corpus_tokens: int, longest: float | None) -> TrainParameters:
    from lamina.model.train import TrainParameters

    tokens = section.tokens
    if section.epochs is not None:
        tokens = round(section.epochs * corpus_tokens / (1 - section.replay))
    steps = section.steps if tokens is None else max(1, -(-tokens // _step_tokens(section)))
    budget = longest if section.budget is None else seconds(section.budget, where="model.train.budget")
    if steps is None and budget is None:
        budget = seconds(_DEFAULT_BUDGET)
    rate = section.learning_rate or _RATES[section.method]
    return TrainParameters(
        steps=steps,
        budget_s=budget,
        method=section.method,
        rank=section.rank,
        alpha=section.alpha,
        accumulate=section.accumulate,
        learning_rate=rate,
        schedule=section.schedule,
        optimizer=section.optimizer,
        average=section.average,
        recompute=section.recompute,
        seed=section.seed,
    )


def _step_tokens(section: TrainSection) -> int:
    return section.batch * section.accumulate * section.length


def _plan_in_words(steps: int, section: TrainSection, corpus_tokens: int) -> str:
    tokens = steps * _step_tokens(section)
    share = tokens * (1 - section.replay) / max(1, corpus_tokens)
    covered = f"{100 * share:.1f} % of the documents" if share < 1 else f"the documents {share:.1f} times over"
    return f"plan: {steps:,} steps of {_step_tokens(section):,} tokens cover {covered}"
