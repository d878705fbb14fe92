"""What a run is told beside its parameters: how it is watched, and what its trust report and its card speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.kit.packages import Located
from lamina.kit.stages import Workshop
from lamina.recipes import contamination
from lamina.recipes.base_choice import told_base
from lamina.recipes.stack import Stack
from lamina.recipes.train_section import TrainSection
from lamina.recipes.watching import watching


def run_context(
    stack: Stack,
    section: TrainSection,
    workshop: Workshop,
    *,
    base: Located | None,
    corpus: Path | None,
    rows_license: str | None = None,
) -> dict[str, Any]:
    """The context of a training stage. ``base``: what it begins with, None for fresh weights."""
    about: dict[str, Any] = {
        "name": stack.name,
        "base": None if base is None else base.location,
        "base_license": None if base is None else base.license,
    }
    if (chosen := told_base(stack)) is not None:
        about["base_choice"] = chosen
    if section.rows is not None:
        about |= {"rows": section.rows["from"], "rows_license": rows_license}
    if corpus is not None:
        about |= {"corpus": str(corpus), "contamination": contamination.known(stack, corpus, workshop)}
    return {"stack": stack.table, "watch": watching(section, stack), "about": about}
