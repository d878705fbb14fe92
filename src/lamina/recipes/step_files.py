"""``[[data.steps]]``: the files and packages that they name brought to this machine, and what makes them stale.

A path starts beside the stack file; a package ("npm:…", "pypi:…", "deb:…", "hf:…") is fetched and locked like that of a
source. What the files hold, not where they lie, decides whether the corpus is stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lamina.data.clean.recipes import expand
from lamina.kit.errors import LaminaError
from lamina.kit.packages import Located
from lamina.kit.progress import Progress
from lamina.kit.registry import SOURCES, STEPS
from lamina.recipes.collect import locate
from lamina.recipes.label_texts import prepared
from lamina.recipes.stack import Stack

#: Step to its keys that name files or folders.
PATHS: Mapping[str, tuple[str, ...]] = {
    "decontaminate": ("sets",),
    "duplicates": ("against",),
    "quality_model": ("labels",),
    "url_lists": ("block", "allow", "word_files"),
}
#: Words that stand where a path may, and are none.
_WORDS = ("earlier",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """What of the steps goes into the corpus' stage: as in ``kit.stages.Stage``."""

    parameters: Mapping[str, Any]
    context: Mapping[str, Any] = field(default_factory=dict)


def place(stack: Stack, steps: Sequence[Mapping[str, Any]], progress: Progress) -> Placing:
    """The steps with each path where it lies on this machine. Raises what fetching raises, naming the key."""
    placed: list[dict[str, Any]] = []
    hashes: dict[str, str] = {}
    for number, step in enumerate(steps):
        table = dict(step)
        for key in _keys(step):
            where = f"data.steps.{number}.{key}"
            table[key] = _each(step[key], partial(_located, stack, where, progress, hashes))
        placed.append(table)
    parameters: dict[str, Any] = {"steps": [dict(step) for step in steps]}
    if any("recipe" in step for step in steps):  # what a recipe says today
        parameters["recipes"] = [step for _, _, step in expand(steps)]
    return Placing(
        parameters=parameters | ({"step_files": hashes} if hashes else {}),
        context={"steps": placed} if hashes else {},
    )


def placed(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps for the pipeline, from a stage's parameters and context."""
    return list(parameters["context"].get("steps") or parameters["steps"])


def asks_the_base(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a step asks the stack's own base model."""
    return any(step.get("signal") == "perplexity" and "service" not in step for step in steps)


def _keys(step: Mapping[str, Any]) -> list[str]:
    names = [step[kind] for kind in ("signal", "pass", "transform") if isinstance(step.get(kind), str)]
    return [key for name in names for key in PATHS.get(name, ()) if key in step]


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    return [change(item) if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


def _located(stack: Stack, where: str, progress: Progress, hashes: dict[str, str], name: str) -> str:
    if name in _WORDS:
        return name
    try:
        found: Located = locate(stack, name, progress)
    except LaminaError as error:
        raise type(error)(
            f"{error.what}", where=f"{stack.file.name}: {where} ({error.where})", hint=error.hint
        ) from None
    hashes[f"{where}: {name}"] = found.sha256
    if where.endswith(".labels"):
        return str(prepared(stack, found.path, found.sha256))
    return str(Path(found.path).absolute())


def versions(steps: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> dict[str, int]:
    """Of the sources that are used, of our own steps (recipes are made of them), and of others that are named."""
    named = {value for step in steps for value in step.values() if isinstance(value, str)}
    used = [c for c in STEPS if c.name in named or c.function.__module__.startswith("lamina.")]
    return {f"{c.kind} {c.name}": c.version for c in used} | {name: SOURCES.get(name).version for name in sources}
