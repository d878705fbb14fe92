"""What plans of compression cost and give, side by side: measured by stages, told by a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.kit.limits import processor_name, processors
from lamina.kit.progress import Progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.compression_plans import PARENT, CompressionPlan, Target, frontier
from lamina.recipes.compression_stages import QUALITY, SPEED
from lamina.recipes.current import read_json
from lamina.recipes.served import form_stage
from lamina.recipes.stack import Stack
from lamina.recipes.tasks import task_files

_STAGES = "lamina.recipes.compression_stages"


def weigh(
    stack: Stack, workshop: Workshop, corpus: Path, plans: Sequence[CompressionPlan], progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """A row for each of ``plans``, the parent first, and its served artefact: sizes, and what was lost on the held-out
    documents of ``corpus``. What was measured before is not measured again."""
    served: dict[str, Path] = {}
    rows = []
    with progress.task("plans", total=len(plans), unit="plans") as task:
        for plan in plans:
            made = form_stage(plan.form, plan.source, part=plan.part, corpus=corpus)
            served[plan.name] = workshop.run(made)
            against = {} if plan.name == PARENT else {"parent": served[PARENT]}
            stage = _quality_stage(stack, {"served": served[plan.name], "corpus": corpus, **against})
            weights = (served[plan.name] / "model").glob("*.safetensors")
            rows.append(
                {
                    "name": plan.name,
                    "quantize": plan.form.quantize,
                    "calibrate": plan.form.calibrate,
                    "bytes": sum(file.stat().st_size for file in weights),
                    **read_json(workshop.run(stage) / QUALITY),
                }
            )
            task.advance(1, plan=plan.name)
    return rows, served


def timed(
    stack: Stack, workshop: Workshop, rows: Sequence[dict[str, Any]], served: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """``rows`` with what their artefacts take in turns on this machine."""
    speed = read_json(workshop.run(_speed_stage(stack, served)) / SPEED)
    return [{**row, **speed[row["name"]], "tokens_per_s": 1 / speed[row["name"]]["itl"]} for row in rows]


def _quality_stage(stack: Stack, inputs: Mapping[str, Path]) -> Stage:
    return Stage(
        name="compression-quality",
        shelf="evaluations",
        function=f"{_STAGES}:measure_quality",
        parameters={"tokens": stack.model.evaluate.tokens if stack.model else 0, "tasks": task_files(stack)},
        inputs=inputs,
        versions={"divergence": 1},
        context={"folder": str(stack.folder)},
    )


def _speed_stage(stack: Stack, served: Mapping[str, Path]) -> Stage:
    """Times are of one machine: its name is part of the key."""
    return Stage(
        name="compression-speed",
        shelf="evaluations",
        function=f"{_STAGES}:measure_speed",
        parameters={"machine": machine_name(), "plans": list(served)},
        inputs=served,
        versions={"timing": 1},
        context={"device": stack.deployment.device},
    )


def machine_name() -> str:
    """Of the machine whose times these are."""
    return f"{processor_name()}, {processors()} cores"


def table_of(
    stack: Stack, parent: str, rows: Sequence[dict[str, Any]], target: Target, take: str | None, *, because: str
) -> dict[str, Any]:
    """What ``lamina compress`` tells of ``timed`` rows. ``take``: the name of the plan taken, ``because`` of what;
    None: of none of them. ``parent``: the version that they were made from."""
    edge = frontier(rows)
    rows = [{**row, "misses": target.misses(row), "frontier": row["name"] in edge} for row in rows]
    return _table(stack, parent, rows, take) | {
        "because": because,
        "slo": target.times.told(),
        "quality": target.quality,
        "machine": machine_name(),
        "prompt": rows[0]["prompt"],
    }


def weighed_table(stack: Stack, parent: str, rows: Sequence[dict[str, Any]], take: str) -> dict[str, Any]:
    """The same of rows that were not timed. It says nothing of this machine or of what was asked, so that the same
    weights with it are the same version wherever they are made."""
    rows = [{**row, "misses": [], "frontier": None} for row in rows]
    return _table(stack, parent, rows, take) | {"quality": None, "machine": None}


def _table(stack: Stack, parent: str, rows: Sequence[dict[str, Any]], take: str | None) -> dict[str, Any]:
    return {
        "format": 1,
        "stack": stack.name,
        "parent": parent,
        "chosen": take,
        "tokens": rows[0]["tokens"],
        "texts": rows[0]["texts"],
        "plans": list(rows),
    }


def report_stage(table: Mapping[str, Any], served: Mapping[str, Path], card: Path) -> Stage:
    """Writes the table and its page; and the artefact that was taken, with the table in it and in its ``card``."""
    return Stage(
        name="compression",
        shelf="compressions",
        function=f"{_STAGES}:write_compressed",
        parameters={"table": table},
        inputs={} if table["chosen"] is None else {"served": served[table["chosen"]]},
        versions={"compression": 1},
        context={"card": str(card)},
    )
