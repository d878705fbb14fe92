"""Tasks that a user brings as files: each measured, if wanted under the data layer's perturbations, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress

if TYPE_CHECKING:
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.transformer import Transformer


def run_tasks(
    files: Sequence[Path], model: Transformer, tokenizer: ModelTokenizer, *, draws: int, progress: Progress
) -> dict[str, Any]:
    """The tasks in ``files`` (``model.evaluate.task_files``) by name: ``scores``, and the ``drops`` of the first score.

    ``draws``: of each perturbation of ``data.augment.perturb``; 0 leaves them out. Raises what reading and measuring
    raise.
    """
    from lamina.model.evaluate.robustness import robustness
    from lamina.model.evaluate.score import Score
    from lamina.model.evaluate.task_files import read_task

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
