"""``lamina data augment``: what augmentation would do to the stack's documents, and whether it helps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from lamina.kit.durable import canonical
from lamina.kit.errors import ConfigError, NotFoundError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.augmentation import opened
from lamina.recipes.plan import Plan
from lamina.recipes.stack import Stack
from lamina.recipes.translating import translating

if TYPE_CHECKING:
    from lamina.data.augment.corpus import Augmentation


def show(stack: Stack, *, as_json: bool = False) -> Any:
    """What each operation would do, tried on some of the documents: in words or as JSON. Nothing is kept."""
    from lamina.data.augment import preview

    corpus, augmentation, models = _found(stack)
    with translating(models):
        told = preview.preview(corpus, augmentation, augmentation.operations())
    return told if as_json else preview.describe(told)


def judge(stack: Stack, *, seeds: int, label: str | None = None, as_json: bool = False) -> Any:
    """Whether each operation helps a small model on the held-out documents: in words or as JSON."""
    import polars as pl

    from lamina.data.augment.corpus import languages_of, settle_on
    from lamina.data.augment.verdict import judge_corpus

    corpus, augmentation, models = _found(stack)
    train = sorted((corpus / "data").glob("train-*.parquet"))
    documents = pl.scan_parquet(train).filter(pl.col("parent_id").is_null()).select("language", "split").collect()
    progress = open_progress("quiet" if as_json else "auto")
    with translating(models), progress.task("verdict", total=None, unit="trials") as task:
        operations, translators = settle_on(train, augmentation.operations(), languages_of(documents), augmentation.own)
        found = judge_corpus(
            corpus, operations, label=label, seeds=seeds, max_share=augmentation.max_share, tick=task.advance
        )
    lines = [f"{r['operation']} {r['language']}-{r['pivot']}: {'; '.join(r['reasons'])}" for r in translators]
    return {**found.json(), "translators": translators} if as_json else "\n".join([*lines, str(found)])


def _found(stack: Stack) -> tuple[Path, Augmentation, list[str]]:
    """The stack's documents as they were built last, whatever was made of them, the augmentation of its file, and the
    folders of the stack's own translators."""
    if stack.data is None or not stack.data.augment:
        raise ConfigError(
            "has no [[data.augment]] table",
            where=stack.file.name,
            hint="try --set 'data.augment=[{use = \"swap\"}]'",
        )
    progress = open_progress("quiet")
    plan = Plan(stack, Workshop(stack.state, progress), progress)
    stage = plan.corpus
    augmentation = opened(stage.parameters, stage.context["augmentation"])
    assert augmentation is not None
    for folder in _folders(plan.workshop, stage):
        if folder.exists():
            return folder, augmentation, list(stage.context["augmentation"].get("translators", ()))
    raise NotFoundError(
        "the corpus is not built", where=stack.file.name, hint="lamina data build, with these tables or without"
    )


def _folders(workshop: Workshop, stage: Stage) -> list[Path]:
    """Where the same documents may stand: with these children, without any, or with those of the last build."""
    bare = replace(stage, parameters=_bare(stage.parameters, "augment"), versions=_bare(stage.versions, "augmenter "))
    found = [workshop.folder(stage), workshop.folder(bare)]
    try:
        note = json.loads((workshop.state / "stages" / f"{stage.name}.json").read_bytes())
        recipe = dict(note["recipe"])
        recipe["parameters"] = _bare(recipe["parameters"], "augment")
        recipe["versions"] = _bare(recipe["versions"], "augmenter ")
        if blake3(canonical(recipe)).hexdigest(length=16) == workshop.key(bare):
            found.append(workshop.state / stage.shelf / str(note["key"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no build before this one
    return found


def _bare(table: Mapping[str, Any], beginning: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if not key.startswith(beginning)}
