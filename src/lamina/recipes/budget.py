"""``[deployment] quality`` in ``lamina up``: where a budget is stated, what is served is measured against what it was
made from, and does not become a version if it lost more."""

from __future__ import annotations

from pathlib import Path

from lamina.deployment.quality import check_quality, read_quality
from lamina.kit.errors import RefusedError
from lamina.kit.progress import Progress
from lamina.kit.stages import Workshop
from lamina.recipes.compression_plans import FORMS, PARENT, PRUNED, plans_of
from lamina.recipes.compression_table import report_stage, weigh, weighed_table
from lamina.recipes.pruning import Deployed, unpruned
from lamina.recipes.served import Form
from lamina.recipes.stack import Stack


def within_budget(
    stack: Stack, workshop: Workshop, made: Deployed, served: Path, *, corpus: Path, progress: Progress
) -> Path:
    """The artefact to register: ``served``, or where a budget is stated and something may be lost, the same model with
    the table of what it lost against its parent in full precision.

    ``made``: what it comes from; ``corpus``: whose held-out documents are read. Raises ``RefusedError`` where it lost
    more than the budget.
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
    rows, artefacts = weigh(stack, workshop, corpus, plans_of(source, part, [name], pruned=pruned), progress)
    table = weighed_table(stack, source.name, rows, name)
    folder = workshop.run(report_stage(table, artefacts, made.source / made.part / "README.md"))
    budget = read_quality(deployment.quality, where="deployment.quality")
    progress.say(f"{name}: {rows[-1]['change']:+.2%} bits per byte against full precision, {budget:.2%} are allowed")
    try:
        check_quality(folder / "model", budget)
    except RefusedError as error:
        raise RefusedError(
            error.what,
            where=f"{stack.file.name}: deployment.quality",
            hint="another deployment.quantize, calibrate or prune, or a larger budget; what answered before stays",
        ) from error
    return folder


def say_unmeasured(stack: Stack, progress: Progress) -> None:
    """Say that a stated budget is not looked at: it is in bits per byte of held-out documents, of which there are
    none, or which this model does not go on with."""
    if stack.deployment.quality is not None and stack.deployment.quantize != "none":
        progress.say("deployment.quality: not measured; it is of models that go on with a stack's held-out documents")
