"""Tasks that a user brings as files: each measured, if wanted under the data layer's perturbations, and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.errors import ConfigError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.evaluate.task_files import Task
    from lamina.model.transformer import Transformer


def task_files(stack: Stack) -> list[list[str]]:
    """``[name, hash of its content]`` of each file in ``[model.evaluate] tasks``, as parameters of a stage.

    Raises ``ConfigError`` naming the file that is not there.
    """
    found = []
    for name in stack.model.evaluate.tasks if stack.model is not None else ():
        file = stack.folder / name
        if not file.is_file():
            raise ConfigError("there is no such file", where=f"model.evaluate.tasks: {file}")
        found.append([name, blake3_hex(file.read_bytes())])
    return found


def questions_of(task: Task) -> list[dict[str, Any]]:
    """``{"question", "answers"}`` of each item of a task: the text that gives it away where it was trained on."""
    said: Mapping[str, Callable[[Any], tuple[str, tuple[str, ...]]]] = {
        "minimal pairs": lambda item: (item.good, ()),
        "multiple choice": lambda item: (item.context, (item.choices[item.answer],)),
        "classification": lambda item: (item[0], ()),
        "translation": lambda item: (item[0], (item[1],)),
        "similarity": lambda item: (item[0], ()),
        "texts": lambda item: (item, ()),
    }
    return [{"question": question, "answers": list(answers)} for question, answers in map(said[task.kind], task.items)]


def run_tasks(
    files: Sequence[Path], model: Transformer, tokenizer: ModelTokenizer, *, draws: int, progress: Progress
) -> dict[str, Any]:
    """The tasks in ``files`` (``model.evaluate.task_files``) by name: ``scores``, and the ``drops`` of the first score.

    ``draws``: of each perturbation of ``data.augment.perturb``; 0 leaves them out. Raises ``ConfigError`` for two files
    of one name, and what reading and measuring raise.
    """
    from lamina.model.evaluate.robustness import robustness
    from lamina.model.evaluate.score import Score
    from lamina.model.evaluate.task_files import read_task

    twice = [name for name, count in Counter(file.stem for file in files).items() if count > 1]
    if twice:
        raise ConfigError(
            f"two tasks are named '{twice[0]}'", where="model.evaluate.tasks", hint="a file's name is its task's"
        )
    found: dict[str, Any] = {}
    with progress.task("tasks", total=len(files), unit="tasks") as done:
        for task in [read_task(file) for file in files]:

            def first(items: Sequence[Any], task: Any = task) -> Score:
                scores: list[Score] = task.measure(model, tokenizer, items=items)
                return scores[0]

            scores = [score.to_json() for score in task.measure(model, tokenizer)]
            drops = robustness(first, task.items, perturbations(draws)) if draws else []
            found[task.name] = {
                "scores": scores,
                "drops": [
                    {"words": str(d), "perturbation": d.perturbation, "value": d.value, "loss": asdict(d.loss)}
                    for d in drops
                ],
            }
            done.advance(1)
    return found


def perturbations(draws: int) -> dict[str, list[Callable[[str], str]]]:
    """Typos, misreadings, lost case and other phrases: a function text -> text for each of ``draws`` seeds.

    What becomes of a text follows from the seed and the text alone. Other phrases have no seed, and one draw.
    """
    from lamina.data.augment.perturb import CONDITIONS, perturb

    def change(condition: str, seed: int) -> Callable[[str], str]:
        def changed(text: str) -> str:
            own = int(blake3_hex(str(seed), text)[:8], 16)
            return perturb([text], condition, seed=own)[0]

        return changed

    return {
        condition: [change(condition, seed) for seed in range(1 if condition == "paraphrase" else draws)]
        for condition in CONDITIONS
        if condition != "clean"
    }


def task_summary(found: Mapping[str, Any]) -> dict[str, str]:
    """The first score of each task of ``run_tasks``, as a version carries it."""
    return {
        f"task_{name}": f"{task['scores'][0]['value']:.4f} ± {task['scores'][0]['error']:.4f}"
        for name, task in found.items()
    }


def task_lines(before: Mapping[str, Any], after: Mapping[str, Any] | None = None) -> list[str]:
    """What ``run_tasks`` found, in words; with ``after``, of another model, also which of the two is better if any."""
    from lamina.model.evaluate.compare import compare
    from lamina.model.evaluate.score import Score

    lines: list[str] = []
    for name, task in (after or before).items():
        scores = [Score.from_json(values) for values in task["scores"]]
        lines += [str(score) for score in scores]
        lines += ["  " + drop["words"] for drop in task["drops"]]
        if after is not None and name in before:
            earlier = [Score.from_json(values) for values in before[name]["scores"]]
            lines += [
                "  " + str(compare(new, old, names=("after", "before")))
                for new, old in zip(scores, earlier, strict=True)
            ]
    return lines
