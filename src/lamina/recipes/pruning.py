"""``[deployment.prune]``: what is trained, or the base, made smaller, and trained again by its own parent.

training, or base ─► vocabulary ─► tokens ─► pruning ─► served
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit import config
from lamina.kit.config import build
from lamina.kit.durable import atomic_write, is_published, publish
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.kit.stages import Stage
from lamina.recipes.calibration import calibration_batches
from lamina.recipes.objectives import open_stream
from lamina.recipes.prune_section import PruneSection
from lamina.recipes.run_context import run_context
from lamina.recipes.train_parameters import plan_in_words
from lamina.recipes.train_section import TrainSection
from lamina.recipes.training import open_base, run_training
from lamina.recipes.watching import deciding

if TYPE_CHECKING:
    from lamina.data.batches import Part
    from lamina.data.shards import Shards
    from lamina.model.transformer import Transformer
    from lamina.recipes.plan import Plan

FACTS, KEPT = "pruning.json", "kept.json"
#: What recovery takes over from [model.train].
_SHARED = ("batch", "accumulate", "length", "replay", "seed", "device", "compile", "recompute", "samples", "track")
_ELSEWHERE = ("least", "common", "recover")  # keys of [deployment.prune] that decide what goes into the last stage
_TOGETHER = 1 << 24  # tokens that are counted at a time
_CALIBRATION = 8192  # tokens on which the parts are measured
_RATE = 1e-4  # peak
_DISTILL = 0.5  # share of the parent's scores in the loss
_SOFTNESS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What is served comes from ``source`` / ``part``. ``run``, ``tokens``: the keys of the training run that made it,
    and of what it learned from; None of a base."""

    source: Path
    part: str
    run: str | None = None
    tokens: str | None = None


def deployed(plan: Plan) -> Deployed:
    """The model that the stack serves, made where it is stale: the tuned one or the base, pruned where it is to be."""
    workshop = plan.workshop
    made = Deployed(source=workshop.run(plan.base), part="")
    if plan.trains:
        run = workshop.run(plan.training)
        made = Deployed(source=run, part="model", run=run.name, tokens=workshop.key(plan.tokens))
    section = plan.stack.deployment.prune
    return made if section is None else pruned(plan, section, made)


def pruned(plan: Plan, section: PruneSection, parent: Deployed) -> Deployed:
    """``parent`` pruned as ``section`` says and recovered, by the stages that this takes; those that stand are kept."""
    workshop = plan.workshop
    tokens = workshop.run(_tokens(plan))
    inputs = {"source": parent.source, "corpus": workshop.folder(plan.corpus)}
    if section.vocabulary:
        vocabulary = workshop.run(_vocabulary(section, parent, tokens))
        tokens = workshop.run(
            replace(_tokens(plan), name="pruned-tokens", inputs={"corpus": inputs["corpus"], "tokenizer": vocabulary})
        )
        inputs["vocabulary"] = vocabulary
    train = recovery(section, plan.stack.model.train if plan.stack.model else None)
    cut = {name: value for name, value in config.resolved(section).items() if name not in _ELSEWHERE}
    run = workshop.run(
        Stage(
            name="pruning",
            shelf="runs",
            function=f"{__name__}:prune_and_recover",
            parameters={"prune": cut, "train": deciding(train), "part": parent.part},
            inputs={**inputs, "tokens": tokens},
            versions={"prune": 1, "train": 1},
            context=run_context(
                plan.stack,
                train,
                workshop,
                base=None if plan.stack.model is None or plan.stack.model.base is None else plan.base_location,
                corpus=workshop.folder(plan.corpus),
            ),
        )
    )
    return Deployed(source=run, part="model", run=run.name, tokens=tokens.name)


def unpruned(state: Path, run: str) -> tuple[Path, str] | None:
    """What the model of a ``run`` was cut from, as (folder, its part); None where it was not pruned."""
    try:
        told = json.loads((state / "runs" / run / "run.json").read_bytes()).get("pruning")
    except FileNotFoundError:
        return None
    return None if told is None else (state / told["of"], str(told["part"]))


def recovery(section: PruneSection, train: TrainSection | None) -> TrainSection:
    """How a pruned model is trained: all of its weights, by the parent's scores and the documents."""
    shared = {} if train is None else {name: getattr(train, name) for name in _SHARED}
    return TrainSection(
        **shared,
        method="full",
        budget=section.recover,
        learning_rate=_RATE,
        distill=_DISTILL,
        softness=_SOFTNESS,
    )


def _tokens(plan: Plan) -> Stage:
    """The training documents as tokens of the parent."""
    if plan.trains:
        return plan.tokens
    usual, workshop = TrainSection(), plan.workshop
    return Stage(
        name="tokens",
        shelf="tokens",
        function="lamina.recipes.corpus:tokenize",
        parameters={"replay": True, "seed": usual.seed},
        inputs={"corpus": workshop.folder(plan.corpus), "tokenizer": workshop.folder(plan.tokenized_by)},
        versions={"shards": 1, "replay": 2},
        context={"reuse": None, "workers": plan.stack.data.workers if plan.stack.data else None},
    )


def _vocabulary(section: PruneSection, parent: Deployed, tokens: Path) -> Stage:
    return Stage(
        name="vocabulary",
        shelf="tokenizers",
        function=f"{__name__}:prune_tokens",
        parameters={"least": section.least, "common": section.common, "part": parent.part},
        inputs={"source": parent.source, "tokens": tokens},
        versions={"vocabulary": 1},
    )


# -- stages ------------------------------------------------------------------------------------------------------------


@imports("lamina.data.shards", "lamina.deployment.compress.vocabulary")
def prune_tokens(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The tokenizer with the tokens that documents and chat rows use often enough, and ``kept.json``, their old ids."""
    import numpy as np

    from lamina.contracts.chat import Message
    from lamina.data.shards import Shards
    from lamina.deployment.compress.vocabulary import kept_tokens, prune_tokenizer
    from lamina.kit.tokenizer import open_tokenizer

    source = inputs["source"] / parameters["part"]
    tokenizer = open_tokenizer(source)
    seen = np.zeros(tokenizer.vocabulary, np.int64)
    for part in ("documents", "replay"):
        if (inputs["tokens"] / part).is_dir():
            stream = Shards(inputs["tokens"] / part).stream
            for start in range(0, len(stream), _TOGETHER):
                seen += np.bincount(stream[start : start + _TOGETHER], minlength=len(seen))
    if tokenizer.chats:  # what the template writes by itself
        turns = [Message("system", "-"), Message("user", "-"), Message("assistant", "-")]
        for messages in (turns, turns[1:2]):
            seen[tokenizer.render(messages, open_answer=True).ids] += parameters["least"]
    used = np.flatnonzero(seen >= parameters["least"])
    kept = kept_tokens(source, used.tolist(), common=parameters["common"])
    prune_tokenizer(source, staging, kept)
    atomic_write(staging / KEPT, json.dumps(kept.tolist()).encode())
    progress.say(f"vocabulary: {len(used):,} of {tokenizer.vocabulary:,} tokens are used, {len(kept):,} stay")


@imports("lamina.data.batches", "lamina.deployment.compress.prune", "lamina.model.train", "torch._dynamo")
def prune_and_recover(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """``model/``: the source without the parts that matter least on training documents, trained again on them by the
    source's own scores (knowledge distillation, arXiv 1503.02531 and 2407.14679)."""
    from lamina.data.shards import Shards

    section = build(TrainSection, parameters["train"], where="deployment.prune")
    place = work / "pruned"
    parent = open_parent(inputs["source"] / parameters["part"], inputs.get("vocabulary"))
    if not is_published(place):
        with publish(place) as folder:
            write_pruned(parent, folder, parameters["prune"], inputs, parameters["part"], progress)
    model, tokenizer = open_base(place, section)
    documents = Shards(inputs["tokens"] / "documents")
    parts: list[tuple[Shards, float] | Part] = [(documents, 1.0 - section.replay)]
    if section.replay:
        parts.append((Shards(inputs["tokens"] / "replay"), section.replay))
    stream, _ = open_stream(parts, section, tokenizer, model.spec)
    facts = run_training(
        model,
        stream,
        section,
        staging=staging,
        work=work,
        base=place,
        progress=progress,
        corpus_tokens=documents.total_tokens,
        planned=lambda steps: progress.say(plan_in_words(steps, section, documents.total_tokens)),
        teacher=parent.requires_grad_(False),
        chat=[part[0] for part in parts[1:] if isinstance(part, tuple)],
        context=parameters["context"],
    )
    facts |= {"corpus_tokens": documents.total_tokens, "pruning": json.loads((place / FACTS).read_bytes())}
    atomic_write(staging / "run.json", json.dumps(facts, indent=1).encode())
    atomic_write(staging / "lamina.json", json.dumps(parameters["context"]["stack"], indent=1).encode())


def open_parent(source: Path, vocabulary: Path | None) -> Transformer:
    """The model in ``source``, with the tokens of ``vocabulary`` alone where there is one."""
    import numpy as np

    from lamina.deployment.compress.vocabulary import prune_vocabulary
    from lamina.model.checkpoint import open_model

    model = open_model(source)
    if vocabulary is None:
        return model
    return prune_vocabulary(model, np.asarray(json.loads((vocabulary / KEPT).read_bytes()), np.int64))


def write_pruned(
    parent: Transformer,
    folder: Path,
    cut: Mapping[str, Any],
    inputs: Mapping[str, Path],
    part: str,
    progress: Progress,
) -> None:
    """The pruned model as a Hugging Face ``folder``, and ``pruning.json``: what went."""
    from lamina.deployment.compress.importance import measure
    from lamina.deployment.compress.prune import PrunePlan, in_words, prune
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model, save_model

    like = inputs.get("vocabulary", inputs["source"] / part)
    model = parent
    facts: dict[str, Any] = {}
    plan = PrunePlan(**{name.name: cut[name.name] for name in fields(PrunePlan)})
    if plan != PrunePlan():
        batches = calibration_batches(
            inputs["corpus"], open_tokenizer(like), context=parent.spec.max_positions, tokens=_CALIBRATION
        )
        progress.say("measuring what the parts of the model contribute")
        importance = measure(parent, batches)
        model = prune(parent, plan, importance, calibration=batches, progress=progress)
        facts = {"block_influence": [round(float(value), 5) for value in importance.blocks]}
    whole = open_model(inputs["source"] / part)
    said = in_words(whole, model)
    progress.say(said)
    save_model(model, folder, like=like)
    facts |= {"of": "/".join(inputs["source"].parts[-2:]), "part": part}
    facts |= {"what": said, "parameters_before": whole.parameter_count, "parameters": model.parameter_count}
    atomic_write(folder / FACTS, json.dumps(facts).encode())
