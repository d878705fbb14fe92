"""``lamina up`` of a stack that learns from rows: what is stale, in order, and what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.recipes.architectures import check_objective
from lamina.recipes.budget import say_unmeasured
from lamina.recipes.current import Current, read_json, remember
from lamina.recipes.registering import register
from lamina.recipes.row_evaluation import figures, summary
from lamina.recipes.row_plan import RowPlan
from lamina.recipes.rows import in_words
from lamina.recipes.served import why_not_served


def bring_up_rows(plan: RowPlan) -> bool:
    """Train on the rows and measure; whether the model can be served, which it then is a version of."""
    stack, workshop = plan.stack, plan.workshop
    evaluation = _measured(plan)
    plan.progress.say(figures(evaluation))
    run = workshop.folder(plan.training)
    keys = {"base": workshop.key(plan.base), "run": workshop.key(plan.training)}
    if stack.collects:
        keys["corpus"] = workshop.key(plan.corpus)
    reason = why_not_served(run / "model")
    if reason is not None:
        remember(stack, Current(**keys))
        plan.progress.say(
            f"trained: {run / 'model'} (a Hugging Face folder; metrics beside it)\n"
            f"not served: {reason}. The stack ends here."
        )
        return False
    if stack.collects:
        workshop.run(plan.passages)
        keys["passages"] = workshop.key(plan.passages)
    remember(stack, Current(**keys))
    say_unmeasured(stack, plan.progress)
    served = workshop.run(plan.served(run, part="model"))
    origin = {
        "role": "documents",
        "run": keys["run"],
        "corpus": keys.get("corpus"),
        "metrics": summary(evaluation),
    }
    register(stack, served, origin, plan.progress)
    return True


def measure_rows(plan: RowPlan, *, json: bool) -> Any:
    """The figures on the held-out rows; made if they are stale."""
    evaluation = _measured(plan)
    return evaluation if json else figures(evaluation)


def _measured(plan: RowPlan) -> dict[str, Any]:
    workshop, data, model = plan.workshop, plan.stack.data, plan.stack.model
    plan.progress.say(in_words(read_json(workshop.run(plan.rows) / "facts.json")))
    if data is not None and data.tokenizer.trained:
        workshop.run(plan.tokenizer)
    if model is not None and not model.embedding.random:
        workshop.run(plan.tokens)
        workshop.run(plan.vectors)
    base = workshop.run(plan.base)
    if model is not None and model.train is not None:
        check_objective(_architecture(base), model.train.objective)
    run = workshop.run(plan.training)
    return read_json(workshop.run(plan.row_evaluation(run)) / "evaluation.json")


def _architecture(folder: Path) -> str:
    from lamina.model.architectures.presets import architecture_of
    from lamina.model.checkpoint import read_config
    from lamina.model.families import family_of_config

    config, where = read_config(folder), str(folder / "config.json")
    return architecture_of(family_of_config(config, where).to_spec(config, where))
