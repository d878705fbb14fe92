"""``lamina up``: everything that is stale, in order, and then the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.kit.errors import ConfigError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes import contamination
from lamina.recipes.architectures import AUTO
from lamina.recipes.budget import say_unmeasured, within_budget
from lamina.recipes.current import Current, read_json, remember
from lamina.recipes.forget import finish
from lamina.recipes.ngrams import counts_ngrams, ngrams_stage
from lamina.recipes.plan import Plan
from lamina.recipes.pruning import Deployed, deployed
from lamina.recipes.quickfile import write_stack_file
from lamina.recipes.registering import register
from lamina.recipes.row_plan import RowPlan, open_plan
from lamina.recipes.row_up import bring_up_rows, measure_rows
from lamina.recipes.scoring import serve_scorer
from lamina.recipes.served import how_served
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.tasks import task_lines, task_summary


def bring_up(file: Path, assignments: Sequence[str], *, places: Sequence[str], serve: bool, json: bool) -> None:
    """Do what is stale of the stack in ``file``; write that file for ``places`` first; then serve."""
    progress = open_progress("json" if json else "auto")
    if places:
        progress.say(f"{file}:\n\n{write_stack_file(places, file)}")
    stack = open_stack(file, assignments)
    plan = open_plan(stack, Workshop(stack.state, progress), progress)
    if stack.collects:
        finish(stack, progress)
        serve_scorer(plan)
        _show_corpus(plan.workshop.run(plan.corpus), plan)
    ready = stack.model is not None and _bring_up_model(plan)
    if serve and ready:
        from lamina.kit.spawn import release
        from lamina.recipes.serve import serve as run

        release()  # what stages imported takes memory that a server has better uses for
        run(stack, json=json, assignments=tuple(assignments))


def build_data(stack: Stack, *, json: bool) -> Any:
    """Only the data layer; the report as text, or as JSON."""
    progress = open_progress("json" if json else "auto")
    finish(stack, progress)
    plan = Plan(stack, Workshop(stack.state, progress), progress)
    serve_scorer(plan)
    corpus = plan.workshop.run(plan.corpus)
    if json:
        held = {"contamination": contamination.questions_in(stack, corpus, plan.workshop)}
        return {"corpus": corpus.name, **read_json(corpus / "report.json"), **held}
    _show_corpus(corpus, plan)
    return f"corpus: {corpus}"


def show_evaluation(stack: Stack, *, json: bool) -> Any:
    """The figures of base and tuned model; made if they are stale."""
    progress = open_progress("json" if json else "auto")
    plan = open_plan(stack, Workshop(stack.state, progress), progress)
    if stack.collects or not isinstance(plan, RowPlan):
        serve_scorer(plan)
        plan.workshop.run(plan.corpus)
    if isinstance(plan, RowPlan):
        return measure_rows(plan, json=json)
    before, after = _measure(plan)
    return {"before": before, "after": after} if json else figures(before, after)


def _bring_up_model(plan: Plan) -> bool:
    """Everything that is stale of the model; whether there is one that can be served."""
    if isinstance(plan, RowPlan):
        return bring_up_rows(plan)
    _run_tokenizer(plan)
    way = how_served(plan.workshop.run(plan.base))
    if way.reason is not None or not way.writes:
        return _bring_up_texts(plan, way.reason)
    _bring_up_served(plan)
    return True


def _bring_up_texts(plan: Plan, reason: str | None) -> bool:
    """Train a model that answers whole texts, or that nothing serves for ``reason``; whether it is served.

    Raises ``ConfigError`` where it is neither trained nor served.
    """
    stack, workshop = plan.stack, plan.workshop
    if stack.deployment.prune is not None:
        raise ConfigError("only models that go on with texts are pruned", where=f"{stack.file.name}: deployment.prune")
    trains = stack.data is not None and plan.trains
    if reason is not None and not trains:
        raise ConfigError(reason, where=stack.file.name, hint="with [data] and [model.train] it is trained")
    keys = {"base": workshop.key(plan.base)} | _vectors(plan)
    if stack.collects:
        keys["corpus"] = workshop.key(plan.corpus)
    if trains:
        workshop.run(plan.tokens)
        _announce(plan)
        run = workshop.run(plan.training)
        keys |= {"tokens": workshop.key(plan.tokens), "run": workshop.key(plan.training)}
    remember(stack, Current(**keys))
    if reason is not None:
        plan.progress.say(
            f"trained: {run / 'model'} (a Hugging Face folder; metrics beside it)\n"
            f"not served: {reason}. The stack ends here."
        )
        return False
    say_unmeasured(stack, plan.progress)
    source, part = (run, "model") if trains else (workshop.folder(plan.base), "")
    served = workshop.run(plan.served(source, part=part))
    origin: dict[str, Any] = {"run": keys.get("run"), "corpus": keys.get("corpus"), "metrics": {}}
    register(stack, served, {"role": "documents" if trains else "base", **origin}, plan.progress)
    return True


def _bring_up_served(plan: Plan) -> None:
    stack, workshop = plan.stack, plan.workshop
    if stack.data is None:
        served = workshop.run(plan.served(workshop.run(plan.base), part=""))
        remember(stack, Current(base=workshop.key(plan.base)))
        say_unmeasured(stack, plan.progress)
        register(stack, served, {"role": "base", "run": None, "corpus": None, "metrics": {}}, plan.progress)
        return
    if stack.model is None or stack.model.train is None:
        workshop.run(plan.passages)
        made = deployed(plan)
        served = workshop.run(plan.served(made.source, part=made.part))
        artefact = _within_budget(plan, made, served)
        _remember(plan, made)
        metrics = read_json(workshop.run(plan.evaluation(served, grounded=True)) / "evaluation.json")
        role = "documents" if made.run else "base"
        origin = {"role": role, "run": made.run, "corpus": workshop.key(plan.corpus), "metrics": summary(metrics)}
        register(stack, artefact, origin, plan.progress)
        return
    before, after = _measure(plan)
    plan.progress.say(figures(before, after))
    made = deployed(plan)
    artefact = _within_budget(plan, made, workshop.folder(plan.served(made.source, part=made.part)))
    _remember(plan, made)
    origin = {
        "role": "documents",
        "run": made.run,
        "corpus": workshop.key(plan.corpus),
        "metrics": summary(after) | {"bits_per_byte_before": before["bits_per_byte"]},
    }
    register(stack, artefact, origin, plan.progress)


def _within_budget(plan: Plan, made: Deployed, served: Path) -> Path:
    corpus = plan.workshop.folder(plan.corpus)
    return within_budget(plan.stack, plan.workshop, made, served, corpus=corpus, progress=plan.progress)


def _remember(plan: Plan, made: Deployed) -> None:
    workshop = plan.workshop
    current = Current(
        corpus=workshop.key(plan.corpus),
        passages=workshop.key(plan.passages),
        base=workshop.key(plan.base),
        tokens=made.tokens,
        run=made.run,
        **_vectors(plan),
        **_ngrams(plan, made),
    )
    remember(plan.stack, current)


def _vectors(plan: Plan) -> dict[str, str]:
    """The word vectors that the embedding layer began as, where it did."""
    model = plan.stack.model
    return {} if model is None or model.embedding.random else {"vectors": plan.workshop.key(plan.vectors)}


def _ngrams(plan: Plan, made: Deployed) -> dict[str, str]:
    """The n-grams of what the model learned from, where the stack guesses by them."""
    if made.tokens is None or not counts_ngrams(plan.stack):
        return {}
    return {"ngrams": plan.workshop.run(ngrams_stage(plan.stack.state / "tokens" / made.tokens)).name}


def _run_tokenizer(plan: Plan) -> None:
    data = plan.stack.data
    if plan.stack.model is not None and plan.stack.model.train is not None and plan.stack.model.train.teacher:
        plan.workshop.run(plan.teacher)
    if data is not None and data.tokenizer.trained:
        plan.workshop.run(plan.tokenizer)
    if plan.stack.model is not None and plan.stack.model.preset == AUTO:
        plan.workshop.run(plan.tokens)
        plan.workshop.run(plan.sizing)
    if plan.stack.model is not None and not plan.stack.model.embedding.random:
        plan.workshop.run(plan.tokens)
        plan.workshop.run(plan.vectors)


def _measure(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluations of base and tuned model, both in the form in which they are served."""
    workshop = plan.workshop
    _run_tokenizer(plan)
    way = how_served(workshop.run(plan.base))
    if way.reason is not None or not way.writes:
        what = way.reason or "bits per byte are of models that go on with texts"
        raise ConfigError(what, where=plan.stack.file.name, hint="they are measured as served")
    base = workshop.run(plan.served(workshop.folder(plan.base), part=""))
    workshop.run(plan.tokens)
    workshop.run(plan.passages)
    before = workshop.run(plan.evaluation(base, grounded=False))
    _announce(plan)
    made = deployed(plan)
    tuned = workshop.run(plan.served(made.source, part=made.part))
    after = workshop.run(plan.evaluation(tuned, grounded=True))
    return read_json(before / "evaluation.json"), read_json(after / "evaluation.json")


def _announce(plan: Plan) -> None:
    """What there is to learn from, said before training."""
    facts = read_json(plan.workshop.folder(plan.tokens) / "summary.json")
    chat = f", and {facts['chat_rows']:,} chat rows made from them" if facts.get("chat_rows") else ""
    plan.progress.say(f"training data: {facts['documents']:,} documents, {facts['tokens']:,} tokens{chat}")


def _show_corpus(corpus: Path, plan: Plan) -> None:
    from lamina.data.report import describe

    plan.progress.say(describe(read_json(corpus / "report.json"), corpus))
    for line in contamination.in_words(contamination.questions_in(plan.stack, corpus, plan.workshop)):
        plan.progress.say(line)


def summary(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures of an evaluation that a version carries."""
    facts = {"bits_per_byte": evaluation["bits_per_byte"]}
    for name, score in evaluation.get("questions", {}).items():
        facts[f"questions_{name}"] = f"{score['right']} of {score['asked']}"
    return facts | task_summary(evaluation.get("tasks", {}))


def figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The lines that a person waits for."""
    lines = [
        f"bits per byte {before['bits_per_byte']:.3f} -> {after['bits_per_byte']:.3f}   (held-out documents, as served)"
    ]
    asked, tuned = before.get("questions", {}), after.get("questions", {})
    if asked:
        parts = [f"base {_score(asked['weights'])}", f"tuned {_score(tuned['weights'])}"]
        if "documents" in tuned:
            parts.append(f"tuned with sources {_score(tuned['documents'])}")
        lines.append("questions about the documents: " + ", ".join(parts))
    if after.get("tasks"):
        lines += task_lines(before.get("tasks", {}), after["tasks"])
    return "\n".join(lines)


def _score(score: Mapping[str, Any]) -> str:
    return f"{score['right']} of {score['asked']}"
