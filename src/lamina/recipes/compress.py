"""``lamina compress``: plans are built and measured, one is taken for what was asked, and becomes a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.contracts.lineage import ModelVersion
from lamina.deployment.quality import TABLE
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes.compression_plans import PRUNED, Target, chosen, plans_of
from lamina.recipes.compression_report import lines, verdict
from lamina.recipes.compression_stages import FIGURE, REPORT
from lamina.recipes.compression_table import report_stage, table_of, timed, weigh
from lamina.recipes.current import read_json, recall
from lamina.recipes.pruning import unpruned
from lamina.recipes.served import how_served
from lamina.recipes.stack import Stack
from lamina.recipes.versions import open_registry


def compress(
    stack: Stack, *, slo: str | None = None, plans: Sequence[str] = (), take: str | None = None, json: bool = False
) -> Any:
    """Measure ``plans`` (none named: all) of the champion; take the one that meets ``slo`` and register it.

    ``slo``: see ``Target.read``; default: the stack's. ``take``: this plan, whatever the times; the registry still
    refuses what loses more than the quality budget. Raises ``InputError`` where no plan meets what was asked.
    """
    target = Target.read(slo or stack.deployment.slo, stack.deployment.quality)
    progress = open_progress("json" if json else "auto")
    parent = _parent(stack)
    wanted = [*plans, *([take] if take is not None and plans and take not in plans else [])]
    tried = plans_of(parent.source, parent.part, wanted, pruned=parent.pruned)
    if take is not None and take not in [plan.name for plan in tried]:
        raise InputError(f"there is no plan '{take}'", where="--take", hint=", ".join(plan.name for plan in tried))
    workshop = Workshop(stack.state, progress)
    weighed, served = weigh(stack, workshop, parent.corpus, tried, progress)
    rows = timed(stack, workshop, weighed, served)
    because = "asked for by name"
    if take is None:
        best = chosen(rows, target)
        take = None if best is None else best["name"]
        bounded = bool(target.times.told())
        because = "of those that meet all, it lost the least" if bounded else "the fastest within the quality budget"
    table = table_of(stack, parent.version.id, rows, target, take, because=because)
    own = next((plan for plan in tried if plan.name == take), tried[0])
    folder = workshop.run(report_stage(table, served, own.source / own.part / "README.md"))
    version = _registered(stack, folder, parent, table, target)
    found = {**table, "folder": str(folder), "version": version}
    if version is None:
        hint = f"{_nearest(rows, target)}; what was measured: {folder / REPORT}"
        if not json:
            progress.say(lines(table))
        raise InputError(verdict(table), where="--slo", hint=hint)
    return found if json else "\n".join([lines(table), verdict(table), *_next(table, folder, version)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parent:
    """The version that answers, its full-precision model (``source``, in it ``part``), and the documents.

    Of a version that was pruned the parent is what it was cut from, of the training run ``run``; ``pruned`` is its own.
    """

    version: ModelVersion
    source: Path
    part: str
    corpus: Path
    run: str | None
    pruned: Path | None = None


def _parent(stack: Stack) -> _Parent:
    """Raises ``ConfigError`` where there are no documents, or the model does not go on with texts."""
    current = recall(stack)
    if current.corpus is None:
        raise ConfigError(
            "plans are compared on held-out documents, and this stack has none",
            where=stack.file.name,
            hint="[[data.sources]]",
        )
    with open_registry(stack) as registry:
        version = registry.resolve("champion")
    run, pruned = version.run, None
    if run is not None:
        source, part = stack.state / "runs" / run, "model"
        if (whole := unpruned(stack.state, run)) is not None:
            pruned = source
            source, part = whole
            run = source.name if part else None
    else:
        source, part = stack.state / "bases" / str(current.base), ""
    way = how_served(source / part)
    if way.reason is not None or not way.writes:
        raise ConfigError(way.reason or "only models that go on with texts are compressed", where=stack.file.name)
    corpus = stack.state / "corpora" / current.corpus
    return _Parent(version=version, source=source, part=part, corpus=corpus, run=run, pruned=pruned)


def _registered(stack: Stack, folder: Path, parent: _Parent, table: Mapping[str, Any], target: Target) -> str | None:
    """The id of the version that the plan became; None where none was taken."""
    if table["chosen"] is None:
        return None
    row = next(row for row in table["plans"] if row["name"] == table["chosen"])
    old = parent.version
    with open_registry(stack) as registry:
        version = registry.add(
            folder / "model",
            role=old.role,
            parent=old.id,
            run=old.run if row["name"].startswith(PRUNED) else parent.run,
            corpus=old.corpus,
            snapshot=old.snapshot,
            metrics={"bits_per_byte": row["bits_per_byte"], "compression": row["name"], "change": row["change"]},
            seal=read_json(folder / "seal.json"),
            quality=target.quality,
        )
    return version.id


def _nearest(rows: Sequence[Mapping[str, Any]], target: Target) -> str:
    """The plan that misses the fewest bounds, and what it misses."""
    row = min(rows, key=lambda row: (len(target.misses(row)), row["change"]))
    return f"nearest: {row['name']}, {'; '.join(target.misses(row))}"


def _next(table: Mapping[str, Any], folder: Path, version: str) -> list[str]:
    row = next(row for row in table["plans"] if row["name"] == table["chosen"])
    more = "" if row["calibrate"] == "none" else f', calibrate = "{row["calibrate"]}"'
    if not row["name"].startswith(PRUNED) and any(other["name"].startswith(PRUNED) for other in table["plans"]):
        more += ", and no [deployment.prune]"
    return [
        f'it is {version}: lamina releases promote {version} --because "…"',
        f'so that `lamina up` makes it, too: [deployment] quantize = "{row["quantize"]}"{more}',
        f"{folder / TABLE}, {FIGURE}, {REPORT}",
    ]
