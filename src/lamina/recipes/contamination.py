"""The stack's own questions and tasks, looked for in its corpus after each build; counted and named, never dropped.

A stage of its own: other questions must not make the corpus stale, and a model trained on it. Where a step of the stack
drops whatever holds them (``pass = "decontaminate"`` with the file of questions among its sets and ``answers =
"ignore"``), there is nothing to add.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamina.data.steps import DEFAULT_STEPS
from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.questions import read_questions
from lamina.recipes.stack import Stack
from lamina.recipes.tasks import questions_of, task_files

SHELF = "contamination"
_FILE = "contamination.json"


def questions_in(stack: Stack, corpus: Path, workshop: Workshop) -> dict[str, Any] | None:
    """What ``data.clean.contamination`` found in the corpus folder, measured where it is stale.

    None where the stack has neither questions nor tasks, or steps drop what holds them; ``{"failed": …}`` where they
    cannot be read: a corpus does not need them.
    """
    try:
        stage = _stage(stack, corpus)
        return None if stage is None else dict(json.loads((workshop.run(stage) / _FILE).read_bytes()))
    except (ConfigError, InputError) as error:
        return {"failed": f"the questions of the evaluation were not looked for: {error}"}


def known(stack: Stack, corpus: Path, workshop: Workshop) -> dict[str, Any] | None:
    """As ``questions_in``, but nothing is measured: ``{"failed": …}`` where it was not yet."""
    try:
        stage = _stage(stack, corpus)
        if stage is not None and not workshop.fresh(stage):
            return {"failed": "the corpus was not searched for them yet"}
    except (ConfigError, InputError):
        pass
    return questions_in(stack, corpus, workshop)


def _stage(stack: Stack, corpus: Path) -> Stage | None:
    """The search for questions and tasks; None where there are none, or steps drop what holds them."""
    name = stack.model.evaluate.questions if stack.model is not None else None
    asked = name is not None and not _dropped(stack, name)
    questions = read_questions(stack.folder / name) if name is not None and asked else []
    tasks = [[file, content] for file, content in task_files(stack) if not _dropped(stack, file)]
    if not asked and not tasks:
        return None
    return Stage(
        name="contamination",
        shelf=SHELF,
        function="lamina.recipes.contamination:measure",
        parameters={
            "name": ", ".join(([name] if name is not None and asked else []) + [file for file, _ in tasks]),
            "questions": questions,
            **({"tasks": tasks} if tasks else {}),
        },
        inputs={"corpus": corpus},
        versions={"contamination": 1},
        context={"folder": str(stack.folder)},
    )


@imports("lamina.data.clean.contamination")
def measure(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """Writes ``contamination.json``."""
    from lamina.data.clean.contamination import as_item, contamination

    name, rows = parameters["name"], list(parameters["questions"])
    for file, _ in parameters.get("tasks", ()):
        from lamina.model.evaluate.task_files import read_task

        rows += questions_of(read_task(Path(parameters["context"]["folder"]) / file))
    items = [as_item(name, number, row) for number, row in enumerate(rows, 1)]
    found = contamination(inputs["corpus"], items, name=name)
    atomic_write(staging / _FILE, json.dumps(found, indent=1).encode())


def in_words(found: Mapping[str, Any] | None) -> list[str]:
    """The line of the printed report; none where nothing was looked for."""
    from lamina.data.clean.contamination import in_words as sentence

    if found is None:
        return []
    if "failed" in found:
        return [f"note: {found['failed']}"]
    return [f"{'note: ' if found['documents'] else ''}evaluation: {sentence(found)}"]


def _dropped(stack: Stack, name: str) -> bool:
    """Whether a step drops all documents that hold these questions, with an answer or without."""
    steps = DEFAULT_STEPS if stack.data is None or stack.data.steps is None else stack.data.steps
    sets = [path for step in steps if _strict(step) for path in step.get("sets", ())]
    return any((stack.folder / path).resolve() == (stack.folder / name).resolve() for path in sets)


def _strict(step: Mapping[str, Any]) -> bool:
    return step.get("pass") == "decontaminate" and step.get("answers") == "ignore"
