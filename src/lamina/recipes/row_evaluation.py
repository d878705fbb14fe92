"""The stage that measures a model on held-out rows, and its figures in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.kit.durable import atomic_write
from lamina.kit.errors import InputError
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.row_training import log_probabilities, reference_logs
from lamina.recipes.rows import HELD_OUT, read_split
from lamina.recipes.tasks import task_lines, task_summary

if TYPE_CHECKING:
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.evaluate.score import Score
    from lamina.model.transformer import Transformer

_LEAST = 4  # rows: fewer say nothing of a model
_BEFORE = ("translation", "contrastive")  # a base may know these
Rows = Sequence[Mapping[str, Any]]


@imports("lamina.model.checkpoint", "lamina.model.generate", "torch._dynamo")
def evaluate_rows(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """Writes ``evaluation.json``: ``scores`` (each with its error) after training, ``before`` where the base has some.

    BLEU and chrF of translations, accuracy, macro-F1 and calibration of classes, retrieval and likeness of pairs, how
    often what people preferred became the likelier. Fewer than four held-out rows: no scores, and ``why``.
    ``parameters["tasks"]``: files of tasks, as in ``evaluation.evaluate``, measured with both models.
    """
    rows = read_split(inputs["rows"], HELD_OUT)[: parameters["rows"]]
    objective, length = parameters["objective"], parameters["length"]
    found: dict[str, Any] = {"objective": objective, "rows": len(rows), "scores": [], "before": []}
    if len(rows) < _LEAST:
        found["why"] = f"{len(rows)} held-out rows say nothing of a model: model.train.rows.held_out, or more rows"
        rows = []
    with progress.task("held-out rows", total=len(rows), unit="rows") as task:
        try:
            for name, folder in (("scores", inputs["run"] / "model"), ("before", inputs["base"])):
                if rows and (name == "scores" or (not parameters["fresh"] and objective in _BEFORE)):
                    model, tokenizer = _open(folder, parameters)
                    scores = _scores(objective, model, tokenizer, rows, parameters, inputs, length)
                    found[name] = [score.to_json() for score in scores]
        except InputError as error:  # too few rows fit, or all are alike
            found["why"] = str(error)
        task.advance(len(rows))
    if parameters.get("tasks"):
        found |= _tasks(parameters, inputs, progress)
    atomic_write(staging / "evaluation.json", json.dumps(found, indent=1).encode())


def _open(folder: Path, parameters: Mapping[str, Any]) -> tuple[Transformer, ModelTokenizer]:
    """A model where the stack computes, and its tokenizer."""
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.model.device import choose_device

    device = choose_device(parameters["context"].get("device", "cpu"), where="model.train.device")
    return open_model(folder).to(device), open_tokenizer(folder)


def _tasks(parameters: Mapping[str, Any], inputs: Mapping[str, Path], progress: Progress) -> dict[str, Any]:
    """The tasks of the trained model, and of its base where that has learned something."""
    from lamina.recipes.tasks import run_tasks

    files = [Path(parameters["context"]["folder"]) / file for file, _ in parameters["tasks"]]
    sides = {"tasks": inputs["run"] / "model"} | ({} if parameters["fresh"] else {"tasks_before": inputs["base"]})
    found = {}
    for name, folder in sides.items():
        model, tokenizer = _open(folder, parameters)
        found[name] = run_tasks(files, model, tokenizer, draws=parameters["draws"], progress=progress)
    return found


def _scores(
    objective: str,
    model: Transformer,
    tokenizer: ModelTokenizer,
    rows: Rows,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, Path],
    length: int,
) -> Sequence[Score]:
    if objective in ("dpo", "kto"):
        from lamina.model.checkpoint import open_model

        base, references = open_model(inputs["base"]), Path(parameters["context"]["references"])
        kind: Literal["dpo", "kto"] = "dpo" if objective == "dpo" else "kto"
        return preferences(kind, model, base, tokenizer, rows, length=length, references=references)
    if objective == "translation":
        from lamina.model.evaluate.translation import translate_and_score

        fitting = [
            (row["source"], row["target"])
            for row in rows
            if len(tokenizer.framed(row["source"]).ids) <= min(length, model.spec.max_positions)
        ]
        return translate_and_score(model, tokenizer, fitting, max_tokens=length).scores
    if objective == "classification":
        names = json.loads((inputs["rows"] / "facts.json").read_bytes())["labels"]
        return _classes(model, tokenizer, rows, names, length)
    return _likeness(model, tokenizer, rows)


def _classes(
    model: Transformer, tokenizer: ModelTokenizer, rows: Rows, names: Sequence[str], length: int
) -> Sequence[Score]:
    from lamina.model.evaluate.classification import class_probabilities, classification
    from lamina.model.evaluate.score import Asked

    texts = [row["text"] for row in rows]
    given = class_probabilities(model, tokenizer, texts, longest=min(length, model.spec.max_positions))
    asked = Asked(template="each text alone", begin="the model's frame", normalisation=f"cut to {length} tokens")
    labels = [names.index(row["label"]) for row in rows]
    return classification(given, labels, asked=asked, items=texts).scores


def _likeness(model: Transformer, tokenizer: ModelTokenizer, rows: Rows) -> Sequence[Score]:
    """How often a text's own counterpart is the nearest of all, and how far cosines tell pairs from non-pairs."""
    import numpy as np

    from lamina.model.evaluate.embedding import TextEmbedder
    from lamina.model.evaluate.score import Asked, mean_score
    from lamina.model.evaluate.similarity import similarity

    embed = TextEmbedder(model, tokenizer).embed
    anchors, positives = ([row[name] for row in rows] for name in ("anchor", "positive"))
    cosines = embed(anchors) @ embed(positives).T
    own = cosines.diagonal()
    same = np.array([[a == b for b in positives] for a in positives])
    rivals = np.where(same, -np.inf, cosines).max(axis=1)
    asked = Asked(template="each text alone", begin="the model's frame", normalisation="cosines of mean vectors")
    nearest = mean_score(
        "retrieval: its own counterpart is the nearest",
        (own > rivals).astype(float).tolist(),
        items=[*anchors, *positives],
        asked=asked,
        details={"by chance": 1 / len(rows), "cosine of pairs": float(own.mean()), "of others": _others(cosines)},
    )
    others = [*positives[1:], positives[0]]
    pairs = [(a, b, 1.0) for a, b in zip(anchors, positives, strict=True)]
    pairs += [(a, b, 0.0) for a, b in zip(anchors, others, strict=True)]
    return nearest, similarity(embed, pairs, asked=asked, name="likeness: pairs against non-pairs")


def _others(cosines: Any) -> float:
    count = len(cosines)
    return float((cosines.sum() - cosines.trace()) / max(1, count * (count - 1)))


def preferences(
    kind: Literal["dpo", "kto"],
    model: Transformer,
    base: Transformer,
    tokenizer: ModelTokenizer,
    rows: Rows,
    *,
    length: int,
    references: Path,
) -> Sequence[Score]:
    """How often the answer that people preferred gained more than the other (DPO), or a judged answer moved the way
    that it was judged, against the mean of answers to other prompts (KTO)."""
    import numpy as np

    from lamina.data.objectives.preferences import answers
    from lamina.model.evaluate.score import Asked, mean_score

    found = answers(kind, rows, tokenizer, length=length)
    before = reference_logs(base, found, references)
    gains = np.array(log_probabilities(model, found)) - before
    if kind == "dpo":
        right = gains[0::2] > gains[1::2]
        details = {
            "gain of the preferred (nats)": float(gains[0::2].mean()),
            "of the other": float(gains[1::2].mean()),
            "the base prefers it": float((before[0::2] > before[1::2]).mean()),
        }
    else:
        baseline = max(0.0, float(gains[1::2].mean()))
        right = (gains[0::2] > baseline) == found.good
        good, bad = gains[0::2][found.good], gains[0::2][~found.good]
        details = {
            name: float(values.mean())
            for name, values in (("gain of good answers (nats)", good), ("of bad ones", bad))
            if len(values)
        }
    asked = Asked(template="the chat template", begin="the prompt", normalisation="log-probability less the base's")
    items = [json.dumps(row["prompt"], sort_keys=True) for row in rows]
    return [mean_score("preference accuracy", right.astype(float).tolist(), items=items, asked=asked, details=details)]


def figures(evaluation: Mapping[str, Any]) -> str:
    """The lines that a person waits for."""
    lines = [f"{evaluation['rows']:,} held-out rows:"]
    if evaluation.get("why"):
        lines = [f"not evaluated: {evaluation['why']}"]
    before = {score["name"]: score["value"] for score in evaluation["before"]}
    for score in evaluation["scores"]:
        was = f"{before[score['name']]:.3f} -> " if score["name"] in before else ""
        more = "".join(f", {name} {value:.3g}" for name, value in score["details"].items())
        lines.append(f"  {score['name']} {was}{score['value']:.3f} ± {score['error']:.3f}{more}")
    if evaluation.get("tasks"):
        lines += task_lines(evaluation.get("tasks_before", {}), evaluation["tasks"])
    return "\n".join(lines)


def summary(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a version carries."""
    scores = {score["name"]: score["value"] for score in evaluation["scores"]}
    return scores | task_summary(evaluation.get("tasks", {}))
