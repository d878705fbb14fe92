"""Whether and how a model can be served, and the stage that makes the form in which it is.

Where it cannot be served, a stack ends with the trained model and says so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.errors import ConfigError
from lamina.kit.spawn import imports
from lamina.kit.stages import Stage
from lamina.kit.workers import call

if TYPE_CHECKING:
    from lamina.recipes.stack import Stack


@dataclass(frozen=True, slots=True)
class Form:
    """How weights are held: ``[deployment] quantize`` and ``calibrate``."""

    quantize: str
    calibrate: str = "none"


def served_stage(stack: Stack, source: Path, *, part: str, corpus: Path | None) -> Stage:
    """The stage that makes the artefact which answers, in the form of the stack, and its parity seal."""
    return form_stage(Form(stack.deployment.quantize, stack.deployment.calibrate), source, part=part, corpus=corpus)


def form_stage(form: Form, source: Path, *, part: str, corpus: Path | None = None) -> Stage:
    """As ``served_stage``, in any form. ``corpus``: whose training documents a calibrated form reads.

    Raises ``ConfigError`` where there is none.
    """
    calibrated: dict[str, Any] = {}
    inputs = {"source": source}
    if form.calibrate != "none":
        if corpus is None:
            raise ConfigError(
                "calibration reads documents, and this stack has none",
                where="deployment.calibrate",
                hint='deployment.calibrate = "none", or [[data.sources]]',
            )
        calibrated, inputs = {"calibrate": form.calibrate}, {"source": source, "corpus": corpus}
    return Stage(
        name="served",
        shelf="served",
        function="lamina.recipes.training:make_served",
        parameters={"quantize": form.quantize, "part": part, **calibrated},
        inputs=inputs,
        versions={"quantize": 1, "seal": 1} | ({"calibrate": 2} if calibrated else {}),
    )


@dataclass(frozen=True, slots=True)
class Way:
    """``writes``: the model goes on with texts, and is measured by bits per byte; else it answers whole texts.

    ``reason``: why it is not served; None where it is.
    """

    writes: bool
    reason: str | None


def how_served(folder: Path) -> Way:
    """How the model in ``folder`` (a Hugging Face folder) is served, told from its files."""
    told = {"folder": str(folder)}
    # torch stays out of this process where it is not there yet
    found = looked(told) if "torch" in sys.modules else call("lamina.recipes.served:looked", told)
    return Way(**found)


def why_not_served(folder: Path) -> str | None:
    """What is lacking for the model in ``folder``; None where it is served."""
    return how_served(folder).reason


@imports("lamina.deployment.texts.opening")
def looked(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, in a process with torch."""
    from lamina.deployment.texts.opening import kind_of, spec_of
    from lamina.model.checkpoint import read_config

    folder = Path(payload["folder"])
    spec = spec_of(folder)
    writes = spec.encoder is None and spec.head is not None
    try:
        kind_of(spec)
    except ConfigError as error:
        return {"writes": writes, "reason": f"{error.what} ({read_config(folder).get('model_type')} is not among them)"}
    return {"writes": writes, "reason": None}
