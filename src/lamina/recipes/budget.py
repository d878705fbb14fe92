"""``[deployment] quality`` in ``lamina up``: where a budget is stated, what is served is measured against what it was
made from, and the registry refuses what lost more."""

from __future__ import annotations

from pathlib import Path

from lamina.kit.progress import Progress
from lamina.kit.stages import Workshop
from lamina.recipes.compression_plans import FORMS, PARENT, PRUNED, Target, plans_of
from lamina.recipes.compression_table import measured, report_stage, table_of
from lamina.recipes.pruning import Deployed, unpruned
from lamina.recipes.served import Form
from lamina.recipes.stack import Stack


def weighed(
    stack: Stack, workshop: Workshop, made: Deployed, served: Path, *, corpus: Path, progress: Progress
) -> Path:
    """The artefact to register: ``served``, or where a budget is stated and something may be lost, the same model with
    the table of what it lost against its parent in full precision, by which the registry goes.

    ``made``: what it comes from; ``corpus``: whose held-out documents are read.
    """
    deployment = stack.deployment
    whole = None if made.run is None else unpruned(stack.state, made.run)
    if deployment.quality is None or (deployment.quantize == "none" and whole is None):
        return served
    form = Form(deployment.quantize, deployment.calibrate)
    name = next(name for name, known in FORMS.items() if known == form)
    source, part, pruned = made.source, made.part, None
    if whole is not None:
        (source, part), pruned = whole, made.source
        name = PRUNED if name == PARENT else f"{PRUNED}+{name}"
    plans = plans_of(source, part, [name], pruned=pruned)
    rows, artefacts = measured(stack, workshop, corpus, plans, progress)
    target = Target.read(None, deployment.quality)
    table = table_of(stack, source.name, rows, target, name, because="the stack file's form")
    return workshop.run(report_stage(table, artefacts, source / part / "README.md"))
