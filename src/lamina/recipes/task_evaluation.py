"""``lamina evaluate MODEL --task FILE``: any model on files of tasks, nothing built; two models side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.errors import ConfigError, NotFoundError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.models import import_folder
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry
from lamina.recipes.tasks import run_tasks, task_lines

if TYPE_CHECKING:
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.transformer import Transformer

CHAMPION = "champion"


def evaluate_on_tasks(
    place: str, tasks: Sequence[Path], *, stack: Stack | None, against: str | None, draws: int, json: bool
) -> Any:
    """The model at ``place`` (a folder, a version of ``stack``, another location) on ``tasks``; default: the stack's.

    ``against``: another model, measured on the same items and compared. A version is measured as it is served.
    Raises ``ConfigError`` where there is no task, and what opening and measuring raise.
    """
    named = stack.model.evaluate.tasks if stack is not None and stack.model is not None else ()
    files = list(tasks) or [stack.folder / name for name in named if stack is not None]
    if not files:
        raise ConfigError("there is no task to measure", hint="--task FILE, or [model.evaluate] tasks = [...]")
    progress = open_progress("json" if json else "auto")
    found = {}
    with ExitStack() as held:
        for name in (place, *([against] if against is not None else [])):
            cache = Path(held.enter_context(tempfile.TemporaryDirectory()))
            model, tokenizer = _open(name, stack, cache, progress)
            found[name] = run_tasks(files, model, tokenizer, draws=draws, progress=progress)
            del model
    if json:
        return found
    return "\n".join(task_lines(found[place]) if against is None else task_lines(found[against], found[place]))


def _open(place: str, stack: Stack | None, cache: Path, progress: Progress) -> tuple[Transformer, ModelTokenizer]:
    from lamina.deployment.compress.quantize import open_served
    from lamina.kit.tokenizer import open_tokenizer

    folder = Path(place)
    if not (folder / "config.json").is_file():
        folder = _version(place, stack) or _fetched(place, cache, progress)
    return open_served(folder), open_tokenizer(folder)


def _version(name: str, stack: Stack | None) -> Path | None:
    """The folder of a version of the stack; None where it has no such version."""
    if stack is None or not stack.state.exists():
        return None
    with open_registry(stack) as registry:
        try:
            return registry.folder(registry.resolve(name).id)
        except NotFoundError:
            return None


def _fetched(place: str, cache: Path, progress: Progress) -> Path:
    if place == CHAMPION:
        raise NotFoundError(
            "this stack has no model yet", hint="run `lamina up`, or name a model: lamina evaluate FOLDER"
        )
    path = fetch_location(place, cache=cache, lock=None, progress=progress).path
    folder = cache / "model"
    import_folder(path, folder)
    return folder
