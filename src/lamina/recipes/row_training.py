"""The stage that trains on rows: translation pairs, labelled texts, texts that are alike, preferences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.kit.config import build
from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.architectures import check_objective
from lamina.recipes.rows import TRAIN, prefix, read_split
from lamina.recipes.stack import TrainSection
from lamina.recipes.training import open_base, run_training

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lamina.contracts.tokens import BatchStream
    from lamina.data.objectives.preferences import Answers
    from lamina.data.shards import Shards
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.transformer import Transformer

_TOGETHER = 8  # answers whose log-probabilities are computed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The model as the objective wants it, its stream, the rows of an epoch (of a batch), and what is to be told."""

    model: Transformer
    stream: BatchStream
    rows: int
    told: tuple[str, ...] = ()


@imports("lamina.data.batches", "lamina.model.lora", "lamina.model.train", "torch._dynamo")
def train_on_rows(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The base trained on the rows; a run that was killed goes on from its newest checkpoint."""
    section = build(TrainSection, parameters["train"], where="model.train")
    model, tokenizer = open_base(inputs["base"], section)
    facts = json.loads((inputs["rows"] / "facts.json").read_bytes())
    rows = read_split(inputs["rows"], TRAIN)
    references = Path(parameters["context"]["references"])
    opened = open_rows(model, tokenizer, rows, section, facts, work=work, base=inputs["base"], references=references)
    if parameters.get("frozen_embeddings"):
        opened.model.stack.embeddings.token.weight.requires_grad_(False)
    context = parameters["context"]
    train_opened(
        opened, section, staging, work, base=inputs["base"], rows=len(rows), context=context, progress=progress
    )
    _tell_config(staging / "model", section.objective, facts, tokenizer, opened.model)
    atomic_write(staging / "lamina.json", json.dumps(context["stack"], indent=1).encode())


def train_opened(
    opened: Opened,
    section: TrainSection,
    staging: Path,
    work: Path,
    *,
    base: Path,
    rows: int,
    context: Mapping[str, Any],
    progress: Progress,
    longest: float | None = None,
) -> None:
    """Train what was opened over ``rows`` rows; ``longest``: see ``train_parameters``. Writes the run's files."""
    for line in opened.told:
        progress.say(line)
    found = run_training(
        opened.model,
        opened.stream,
        section,
        staging=staging,
        work=work,
        base=base,
        progress=progress,
        corpus_tokens=opened.rows * section.length,
        longest=longest,
        planned=lambda steps: progress.say(rounds_in_words(steps, section, opened.rows)),
        context=context,
    )
    atomic_write(staging / "run.json", json.dumps(found | {"rows": rows}, indent=1).encode())


def open_rows(
    model: Transformer,
    tokenizer: ModelTokenizer,
    rows: Sequence[Mapping[str, Any]],
    section: TrainSection,
    facts: Mapping[str, Any],
    *,
    work: Path,
    base: Path,
    references: Path,
) -> Opened:
    """The objective's batches over ``rows``. Raises ``ConfigError`` where the model is not one for the objective."""
    from lamina.model.architectures.presets import architecture_of

    check_objective(architecture_of(model.spec), section.objective)
    if section.objective in ("dpo", "kto"):
        kind: Literal["dpo", "kto"] = "dpo" if section.objective == "dpo" else "kto"
        return open_preferences(kind, model, tokenizer, rows, section, references=references)
    if section.objective == "translation":
        return _pairs(model, tokenizer, rows, section, work)
    if section.objective == "classification":
        return _labelled(model, tokenizer, rows, section, facts["labels"], work, base)
    return _alike(model, tokenizer, rows, section, work)


def open_preferences(
    kind: Literal["dpo", "kto"],
    model: Transformer,
    tokenizer: ModelTokenizer,
    rows: Sequence[Mapping[str, Any]],
    section: TrainSection,
    *,
    references: Path,
) -> Opened:
    """Batches of preferences, with the model's own log-probabilities as the reference, kept in ``references``."""
    from lamina.data.objectives.preferences import PreferenceBatches, answers

    found = answers(kind, rows, tokenizer, length=section.length)
    logs = reference_logs(model, found, references)
    stream = PreferenceBatches(found, logs, groups=section.batch, seed=section.seed)
    lost = (
        f"{found.dropped:,} of {len(rows):,} rows teach nothing, or are longer than {section.length} tokens: left out"
    )
    return Opened(model=model, stream=stream, rows=stream.groups_per_epoch, told=(lost,) if found.dropped else ())


def reference_logs(model: Transformer, found: Answers, folder: Path) -> NDArray[np.float64]:
    """Log-probabilities (R,) of the answers by ``model``; from ``folder`` where they were computed before."""
    from lamina.model.train.preferences import ReferenceLogs

    return ReferenceLogs(folder).get(model, found.digest, lambda: log_probabilities(model, found))


def log_probabilities(model: Transformer, found: Answers) -> list[float]:
    """The log-probability (nats) of each answer by ``model``."""
    import torch

    from lamina.data.objectives.preferences import padded
    from lamina.model.train.preferences import answer_log_probabilities

    logs: list[float] = []
    device = model.stack.embeddings.token.weight.device
    with torch.no_grad():
        for begin in range(0, len(found.rows), _TOGETHER):
            batch = padded(found.rows[begin : begin + _TOGETHER])
            ids, targets, segments = (
                torch.from_numpy(batch[name]).to(device) for name in ("inputs", "targets", "segments")
            )
            logs += answer_log_probabilities(model, ids, targets, segments).tolist()
    return logs


def rounds_in_words(steps: int, section: TrainSection, rows: int) -> str:
    """How often the rows are gone through."""
    together = section.batch * section.accumulate
    return f"plan: {steps:,} steps of {together:,} rows go through {rows:,} rows {steps * together / rows:.1f} times"


def _pairs(
    model: Transformer, tokenizer: ModelTokenizer, rows: Sequence[Mapping[str, Any]], section: TrainSection, work: Path
) -> Opened:
    import numpy as np

    from lamina.data.batches import PackedBatches, Part
    from lamina.data.objectives.pairs import Pairs, write_pairs

    if model.spec.start_token is None:
        raise ConfigError("the model does not say what its texts begin with", where="decoder_start_token_id")
    sources, targets = write_pairs(((r["source"], r["target"]) for r in rows), work / "pairs", tokenizer)
    form = Pairs(start=model.spec.start_token, end=tokenizer.end_ids[0], source_length=section.length)
    part = Part(shards=targets, sources=sources, weight=1.0)
    stream = PackedBatches([part], batch=section.batch, length=section.length, seed=section.seed, form=form)
    sizes = [np.diff(side.ends, prepend=0) for side in (sources, targets)]
    long = int((np.maximum(*sizes) >= section.length).sum())
    told = [f"{long:,} of {targets.documents:,} pairs have {section.length} tokens or more: left out"] if long else []
    told += _lost(rows, targets)
    return Opened(model=model, stream=stream, rows=stream.rows_per_epoch[0], told=tuple(told))


def _labelled(
    model: Transformer,
    tokenizer: ModelTokenizer,
    rows: Sequence[Mapping[str, Any]],
    section: TrainSection,
    names: Sequence[str],
    work: Path,
    base: Path,
) -> Opened:
    import numpy as np

    from lamina.data.batches import PackedBatches
    from lamina.data.objectives.labelled import write_labelled
    from lamina.data.objectives.texts import Labelled
    from lamina.model.checkpoint import read_config
    from lamina.model.families import family_of_spec
    from lamina.model.train.outputs import for_classes, names_of

    if "classify" not in model.outputs or names_of(read_config(base)) != tuple(names):
        model = for_classes(model, len(names))
        family_of_spec(model.spec)  # that it can be saved is known before it is trained
    texts = ((row["text"], row["label"]) for row in rows)
    part = write_labelled(texts, work / "labelled", tokenizer, names=names)
    form = Labelled(_frame(tokenizer), labels=len(names))
    stream = PackedBatches([part], batch=section.batch, length=section.length, seed=section.seed, form=form)
    sizes = np.diff(part.shards.ends, prepend=0) + tokenizer.frame.size
    told = (*_cut(sizes, section.length), *_lost(rows, part.shards))
    return Opened(model=model, stream=stream, rows=stream.rows_per_epoch[0], told=told)


def _alike(
    model: Transformer, tokenizer: ModelTokenizer, rows: Sequence[Mapping[str, Any]], section: TrainSection, work: Path
) -> Opened:
    import numpy as np

    from lamina.data.batches import PackedBatches, Part
    from lamina.data.objectives.pairs import write_pairs
    from lamina.data.objectives.texts import Alike
    from lamina.model.train.outputs import for_vectors

    if section.batch < 2:
        raise ConfigError(
            "a batch of one pair has nothing that it is not like", where="model.train.batch", hint="batch = 32"
        )
    model = for_vectors(model)
    positives, anchors = write_pairs(((r["positive"], r["anchor"]) for r in rows), work / "pairs", tokenizer)
    part = Part(shards=anchors, sources=positives, weight=1.0)
    form = Alike(_frame(tokenizer))
    stream = PackedBatches([part], batch=section.batch, length=section.length, seed=section.seed, form=form)
    sizes = np.maximum(*(np.diff(side.ends, prepend=0) for side in (anchors, positives))) + tokenizer.frame.size
    told = (*_cut(sizes, section.length), *_lost(rows, anchors))
    return Opened(model=model, stream=stream, rows=stream.rows_per_epoch[0], told=told)


def _cut(sizes: NDArray[np.int64], length: int) -> tuple[str, ...]:
    long = int((sizes > length).sum())
    return (f"{long:,} of {len(sizes):,} texts are longer than {length} tokens: cut",) if long else ()


def _lost(rows: Sequence[Any], kept: Shards) -> tuple[str, ...]:
    lost = len(rows) - kept.documents
    return (f"{lost:,} of {len(rows):,} rows have a text without a token: left out",) if lost else ()


def _frame(tokenizer: ModelTokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the model wants before and behind a text."""
    around = tokenizer.frame.around((-1,)).ids
    place = around.index(-1)
    return tuple(around[:place]), tuple(around[place + 1 :])


def _tell_config(
    folder: Path, objective: str, facts: Mapping[str, Any], tokenizer: ModelTokenizer, model: Transformer
) -> None:
    """What the model's files say beyond its shape: names of classes and languages, and how vectors are made."""
    from lamina.model.checkpoint import read_config
    from lamina.model.evaluate.embedding import write_pooling
    from lamina.model.train.outputs import label_names

    if objective == "classification":
        config = read_config(folder) | label_names(facts["labels"])
        config["problem_type"] = "single_label_classification"
        if config.get("pad_token_id") is None:
            padding = tokenizer.special_id("pad_token")
            config["pad_token_id"] = tokenizer.end_ids[0] if padding is None else padding
        atomic_write(folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False).encode())
    elif objective == "translation" and facts.get("languages"):
        a, b = facts["languages"]
        ways = ((a, b), (b, a)) if facts.get("both_ways") else ((a, b),)
        params = {
            f"translation_{source}_to_{target}": {"prefix": prefix(target) if len(ways) > 1 else ""}
            for source, target in ways
        }
        config = read_config(folder) | {"task_specific_params": params}
        atomic_write(folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False).encode())
    elif objective == "contrastive":
        write_pooling(folder, width=model.spec.stack.embeddings.width, longest=model.spec.max_positions)
