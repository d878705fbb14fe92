"""The stage that learns from feedback: from accepted answers, from preferred ones, or from judged ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.kit.config import build, seconds
from lamina.kit.durable import atomic_write
from lamina.kit.errors import InputError
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.row_training import open_preferences, train_opened
from lamina.recipes.stack import ImproveSection, TrainSection
from lamina.recipes.training import open_base, train_on_parts

if TYPE_CHECKING:
    from lamina.data.batches import Part
    from lamina.data.shards import Shards
    from lamina.kit.tokenizer import ModelTokenizer

_KEPT = {"rank", "alpha", "batch", "length", "seed"}  # what is taken over from [model.train]
_RATE = 4e-4  # of accepted answers
_WORDS = {
    "dpo": "preference pairs: corrections beside the answers that they correct",
    "kto": "judged answers: thumbs up, and down with a reason that teaches",
}


@imports("lamina.data.batches", "lamina.model.lora", "lamina.model.train", "torch._dynamo")
def train_on_feedback(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """A fresh adapter on all rows of the snapshot that the method learns from."""
    settings = build(ImproveSection, parameters["improve"], where="interface.improve")
    start = inputs["start"] / parameters["part"]
    rows = training_rows(inputs["snapshot"], settings.method)
    stack = parameters["context"]["stack"]
    if settings.method == "sft":
        _accepted(staging, work, rows, start, inputs.get("tokens"), settings, parameters["context"], progress)
    else:
        references = Path(parameters["context"]["references"])
        _preferred(settings.method, staging, work, rows, start, settings, parameters["context"], progress, references)
    atomic_write(staging / "lamina.json", json.dumps(stack, indent=1).encode())


def training_rows(snapshot: Path, method: str) -> list[dict[str, Any]]:
    """The rows of a snapshot that a method learns from. Raises ``InputError`` where there is none."""
    import pyarrow.parquet as pq

    table = pq.read_table(snapshot / f"{method}.parquet").to_pylist()
    rows = [row for row in table if row["split"] == "train"]
    if not rows:
        what = _WORDS.get(method, "row to learn from")
        hint = None if method == "sft" else 'interface.improve.method = "sft" learns from accepted answers'
        raise InputError(f"the snapshot holds no {what}", where=str(snapshot), hint=hint)
    return rows


def _accepted(
    staging: Path,
    work: Path,
    rows: list[dict[str, Any]],
    start: Path,
    tokens: Path | None,
    settings: ImproveSection,
    context: Mapping[str, Any],
    progress: Progress,
) -> None:
    """Answers as conversations, with document and chat rows mixed in so that nothing else is lost."""
    from lamina.data.replay import write_rows
    from lamina.kit.tokenizer import open_tokenizer

    tokenizer = open_tokenizer(start)
    feedback = write_rows(
        ((row["prompt"], row["completion"]) for row in rows), work / "feedback", tokenizer, progress=progress
    )
    parts: list[tuple[Shards, float] | Part] = [(feedback, 1.0 - settings.replay)]
    if tokens is not None and settings.replay:
        parts += [(shards, settings.replay / 2) for shards in own_shards(tokens, tokenizer, progress)]
    section = _section(settings, context["stack"], replay=settings.replay if len(parts) > 1 else 0.0)
    longest = seconds(settings.budget, where="interface.improve.budget")
    train_on_parts(
        staging,
        work,
        start,
        parts,
        section,
        progress,
        corpus_tokens=feedback.total_tokens,
        longest=longest,
        context=context,
    )


def own_shards(tokens: Path, tokenizer: ModelTokenizer, progress: Progress) -> list[Shards]:
    """The shards in the folder ``tokens`` whose ids are the tokenizer's: a vocabulary may have been pruned since."""
    from lamina.data.shards import Shards

    found = [Shards(place) for place in sorted(tokens.iterdir()) if place.is_dir()]
    own = [shards for shards in found if shards.facts["vocabulary"] == tokenizer.vocabulary]
    if len(own) < len(found):
        progress.say(
            "the documents lie there as tokens of another vocabulary and are not learned from: run `lamina up`"
        )
    return own


def _preferred(
    kind: Literal["dpo", "kto"],
    staging: Path,
    work: Path,
    rows: list[dict[str, Any]],
    start: Path,
    settings: ImproveSection,
    context: Mapping[str, Any],
    progress: Progress,
    references: Path,
) -> None:
    """Preferences, seen from the model that the adapter begins on."""
    section = _section(settings, context["stack"], objective=kind, rows={"from": "snapshot"}, beta=settings.beta)
    model, tokenizer = open_base(start, section)
    opened = open_preferences(kind, model, tokenizer, rows, section, references=references)
    longest = seconds(settings.budget, where="interface.improve.budget")
    train_opened(
        opened, section, staging, work, base=start, rows=len(rows), context=context, progress=progress, longest=longest
    )


def _section(settings: ImproveSection, stack: Mapping[str, Any], **more: Any) -> TrainSection:
    trained = stack["model"].get("train") or {}
    given = {k: v for k, v in trained.items() if k in _KEPT} | {
        "method": trained.get("method", "lora"),
        "learning_rate": settings.learning_rate,
        "epochs": settings.epochs,
    }
    if settings.learning_rate is None:
        given["learning_rate"] = _RATE if settings.method == "sft" else None
    return build(TrainSection, given | more, where="interface.improve")
