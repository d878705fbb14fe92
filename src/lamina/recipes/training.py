"""Stages of the model layer; each runs in a child process of its own (see ``kit.stages``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.config import build
from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError
from lamina.kit.log import MetricsWriter
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.calibration import calibrated
from lamina.recipes.mixing import Mixing, open_mixing
from lamina.recipes.model_card import write_card
from lamina.recipes.objectives import open_stream
from lamina.recipes.ranks import shared_out
from lamina.recipes.sizing import FILE as SIZING
from lamina.recipes.sizing import sized
from lamina.recipes.stack import TrainSection
from lamina.recipes.train_parameters import plan_in_words, set_threads, train_parameters
from lamina.recipes.trust import write_trust
from lamina.recipes.validation import held_out_batches
from lamina.recipes.watching import observers

if TYPE_CHECKING:
    from lamina.contracts.tokens import Batch, BatchStream
    from lamina.data.batches import Part
    from lamina.data.mixture import Mixture
    from lamina.data.shards import Shards
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.train import TrainResult
    from lamina.model.transformer import Transformer


@imports("lamina.model.checkpoint")
def import_base(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The base model as a Hugging Face folder."""
    from lamina.recipes.models import import_folder

    progress.say(f"reading the base model {parameters['location']}")
    import_folder(Path(parameters["context"]["path"]), staging)


@imports("lamina.data.batches", "lamina.model.lora", "lamina.model.train", "torch._dynamo")
def train_on_documents(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The base trained on documents for the stack's objective, and on chat rows made from them."""
    from lamina.data.shards import Shards

    section = sized(build(TrainSection, parameters["train"], where="model.train"), inputs.get("sizing"))
    if shared_out(f"{__name__}:train_on_documents", staging, work, parameters, inputs, progress, section):
        return
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
    train_on_parts(
        staging,
        work,
        inputs["base"],
        parts,
        section,
        progress,
        corpus_tokens=size,
        mixing=mixing,
        frozen=frozen,
        teacher=inputs.get("teacher"),
        held_out=inputs.get("corpus"),
        context=parameters["context"],
    )
    if "sizing" in inputs:
        atomic_write(staging / SIZING, (inputs["sizing"] / SIZING).read_bytes())
    atomic_write(staging / "lamina.json", json.dumps(parameters["context"]["stack"], indent=1).encode())


@imports("lamina.deployment.compress.calibrated", "lamina.deployment.seal")
def make_served(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The artefact that answers, and its parity seal. ``parameters["calibrate"]``: a method that reads documents."""
    from lamina.deployment.compress.quantize import can_quantize, quantize, save_served
    from lamina.deployment.seal import make_seal
    from lamina.model.checkpoint import open_model

    source, form = inputs["source"] / parameters["part"], parameters["quantize"]
    model, method = open_model(source), parameters.get("calibrate")
    if not can_quantize(model):
        form, method = "none", None
    elif method is not None:
        model = calibrated(model, method, inputs["corpus"], tokens_of=source, progress=progress)
    elif form != "none":
        model = quantize(model, form)
    save_served(model, staging / "model", like=source, quantize=form, calibration=method)
    atomic_write(staging / "seal.json", json.dumps(make_seal(staging / "model")).encode())


def train_on_parts(
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
    teacher: Path | None = None,
    held_out: Path | None = None,
    context: Mapping[str, Any] | None = None,
) -> None:
    """The model in ``base`` trained on ``parts`` of token shards; writes ``model/`` and what the run says of itself."""
    model, tokenizer = open_base(base, section, frozen=frozen)
    stream, packed = open_stream(parts, section, tokenizer, model.spec)
    mixtures: list[Mixture] = []

    def planned(steps: int) -> None:
        progress.say(plan_in_words(steps, section, corpus_tokens))
        if mixing is not None:
            mixtures.append(mixing.settle(packed, steps * section.batch * section.accumulate))
            progress.say(mixtures[-1].in_words())

    facts = run_training(
        model,
        stream,
        section,
        staging=staging,
        work=work,
        base=base,
        progress=progress,
        corpus_tokens=corpus_tokens,
        longest=longest,
        planned=planned,
        teacher=None if teacher is None else open_teacher(teacher, tokenizer),
        held_out=() if held_out is None else held_out_batches(held_out, section, tokenizer, model.spec, work),
        chat=[part[0] for part in parts if isinstance(part, tuple) and part[0].facts.get("kind") in ("replay", "rows")],
        context=context,
    )
    facts |= {"corpus_tokens": corpus_tokens} | ({"mixture": mixtures[-1].facts()} if mixtures else {})
    atomic_write(staging / "run.json", json.dumps(facts, indent=1).encode())


def open_base(base: Path, section: TrainSection, *, frozen: bool = False) -> tuple[Transformer, ModelTokenizer]:
    """The model that training begins with, and its tokenizer; torch is seeded, and has threads as the model needs."""
    import torch

    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.model.device import choose_device

    torch.manual_seed(section.seed)
    model = open_model(base).to(choose_device(section.device, where="model.train.device"))
    model.stack.embeddings.token.weight.requires_grad_(not frozen)
    set_threads(model)
    return model, open_tokenizer(base)


def open_teacher(folder: Path, tokenizer: ModelTokenizer) -> Transformer:
    """A teacher. Raises ``ConfigError`` where its tokens are others than the model's."""
    from lamina.data.shards import fingerprint
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model

    if fingerprint(open_tokenizer(folder)) != fingerprint(tokenizer):
        raise ConfigError(
            "the teacher's tokenizer is another than the model's",
            where="model.train.teacher",
            hint='a fresh model takes the teacher\'s with [data.tokenizer] use = "base"',
        )
    return open_model(folder).requires_grad_(False)


def run_training(
    model: Transformer,
    stream: BatchStream,
    section: TrainSection,
    *,
    staging: Path,
    work: Path,
    base: Path,
    progress: Progress,
    corpus_tokens: int,
    longest: float | None = None,
    planned: Callable[[int], None] | None = None,
    teacher: Transformer | None = None,
    held_out: Sequence[Batch] = (),
    chat: Sequence[Shards] = (),
    context: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train, and write ``adapter/`` (of LoRA), ``model/`` with its card, ``metrics.jsonl`` and ``trust.json``; what the
    run says of itself. ``chat``: conversations among what is learned; ``context``: see ``run_context``."""
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import save_model
    from lamina.model.lora import merge_lora, save_lora
    from lamina.model.train import train
    from lamina.model.train.proof import check_resume

    told, tokenizer = dict(context or {}), open_tokenizer(base)
    parameters = train_parameters(section, corpus_tokens, longest)
    result = train(
        model,
        stream,
        parameters=parameters,
        work=work,
        progress=progress,
        metrics=MetricsWriter(work / "metrics.jsonl"),
        merge=False,
        planned=planned,
        teacher=None if teacher is None else teacher.to(model.stack.embeddings.token.weight.device),
        held_out=held_out,
        observers=observers(told.get("watch"), section, tokenizer, work),
    )
    proof = check_resume(work / "checkpoints", model, stream)
    model.to("cpu")
    if section.method == "lora":
        save_lora(model, staging / "adapter", base=str(base.name))
        merge_lora(model)
    save_model(model, staging / "model", like=base)
    for name in ("metrics.jsonl", "samples.jsonl"):
        if (work / name).is_file():
            atomic_write(staging / name, (work / name).read_bytes())
    facts = _facts(section, result) | {"learning_rate": parameters.learning_rate}
    about = told.get("about") or {}
    facts |= {name: about[name] for name in ("base_choice", "pruning") if name in about}
    findings = write_trust(
        staging, model, tokenizer, stream, objective=section.objective, before=[proof], chat=chat, about=about
    )
    for finding in findings:
        if finding.verdict == "fail":
            progress.say(f"a check of the saved model failed: {finding.what}: {finding.measured}")
    write_card(staging, model, section, facts, findings, about={"base": base.name, **about}, base=base)
    return facts


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
        "compiled": result.compiled,
        "attention": dict(result.attention),
        "ended": result.ended,
        **({} if result.held_out is None else {"held_out_nats": result.held_out, "best_step": result.best_step}),
    }
