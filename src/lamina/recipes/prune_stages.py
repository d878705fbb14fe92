"""The stages of ``[deployment.prune]``: the tokens that stay, and the model that is cut and trained by its parent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.config import build
from lamina.kit.durable import atomic_write, is_published, publish
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.calibration import calibration_batches
from lamina.recipes.objectives import open_stream
from lamina.recipes.train_parameters import plan_in_words
from lamina.recipes.train_section import TrainSection
from lamina.recipes.training import open_base, run_training

if TYPE_CHECKING:
    from lamina.data.batches import Part
    from lamina.data.shards import Shards
    from lamina.model.transformer import Transformer

FACTS, KEPT = "pruning.json", "kept.json"
_TOGETHER = 1 << 24  # tokens that are counted at a time
_CALIBRATION = 8192  # tokens on which the parts are measured


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
    stream, _ = open_stream(parts, section, tokenizer, model.spec, every=True)  # the parent has scores of every token
    context = parameters["context"]
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
        context={**context, "about": {**context["about"], "pruning": json.loads((place / FACTS).read_bytes())}},
    )
    facts |= {"corpus_tokens": documents.total_tokens}
    atomic_write(staging / "run.json", json.dumps(facts, indent=1).encode())
    atomic_write(staging / "lamina.json", json.dumps(context["stack"], indent=1).encode())


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
        made = prune(parent, plan, batches, progress=progress)
        model = made.model
        facts = {} if made.gap is None else {"gap": [made.gap.first, made.gap.behind]}
    whole = open_model(inputs["source"] / part)
    said = in_words(whole, model)
    progress.say(said)
    save_model(model, folder, like=like)
    facts |= {"of": "/".join(inputs["source"].parts[-2:]), "part": part}
    facts |= {"what": said, "parameters_before": whole.parameter_count, "parameters": model.parameter_count}
    atomic_write(folder / FACTS, json.dumps(facts).encode())
