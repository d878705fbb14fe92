"""The quality budget of a compressed model: what it may lose, and the table in its folder that says what it lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lamina.kit.errors import ConfigError, ModelFileError, RefusedError

TABLE = "compression.json"


def read_quality(text: str, *, where: str) -> float:
    """The share of its bits per byte that a model may lose, from words as the stack file has them.

    >>> read_quality("-1%", where="deployment.quality")
    0.01

    Raises ``ConfigError``.
    """
    match = re.fullmatch(r"\s*-\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if match is None:
        raise ConfigError(f"'{text}' is no quality budget", where=where, hint='a loss in per cent: "-1%"')
    return float(match[1]) / 100


def check_quality(folder: Path, most: float | None) -> None:
    """Look into the table of a model ``folder`` that was compressed; one without a table is taken as it is.

    ``most``: the share of its parent's bits per byte that it may have lost; None: what the table says it may. Raises
    ``RefusedError`` where it lost more, ``ModelFileError`` where the table cannot be read.
    """
    file = folder / TABLE
    if not file.is_file():
        return
    try:
        table: dict[str, Any] = json.loads(file.read_bytes())
        own = next(plan for plan in table["plans"] if plan["name"] == table["chosen"])
        lost, named = float(own["change"]), table["quality"]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ModelFileError(f"not a table of compression: {error!r}", where=str(file)) from error
    budget = named if most is None else most
    if budget is not None and not lost <= budget:
        raise RefusedError(
            f"the plan {table['chosen']} needs {lost:.2%} more bits per byte than its parent; {budget:.2%} are allowed",
            where="the model registry",
            hint='another plan, or a larger budget: --slo "quality=-3%" or deployment.quality = "-3%"',
        )
