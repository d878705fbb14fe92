"""``lamina report``: a training run as one page, its curves, what it wrote as it learned, its checks, its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lamina.contracts.trust import Finding, as_json, from_json
from lamina.kit.durable import atomic_write, digest_folder
from lamina.kit.errors import NotFoundError
from lamina.kit.log import read_metrics
from lamina.kit.page import Raw, as_file, curves, page, sample, table
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes import contamination
from lamina.recipes.current import read_json, recall
from lamina.recipes.model_card import CARD, FACTS, render
from lamina.recipes.served import served_stage
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry
from lamina.recipes.tasks import task_lines
from lamina.recipes.trust import FILE as TRUST
from lamina.recipes.trust import evaluation_apart

_NATS = math.log(2)
_SMOOTH = 0.05  # of the run: width of the mean that is drawn over single steps
_SHOWN = 600  # characters of a sample


def report(stack: Stack, out: Path | None = None, *, version: str | None = None, pictures: Path | None = None) -> str:
    """Write the page of a version's run (default: of the last on the documents); where it lies.

    ``pictures``: a folder that gets the curves as SVG files. Raises ``NotFoundError`` where nothing was trained.
    """
    run = _run(stack, version)
    expected = expected_of(run)
    figures = pictures_of(run, expected)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            atomic_write(pictures / f"{name}.svg", as_file(figure).encode())
    place = out or stack.folder / f"{stack.name}-run.html"
    lines = ([] if expected is None else [_expected_words(expected)]) + measured(stack, run)
    atomic_write(place, run_page(run, lines, known_findings(stack, run), figures).encode())
    return f"wrote {place}"


def _run(stack: Stack, version: str | None) -> Path:
    name = recall(stack).run
    if version is not None:
        with open_registry(stack) as registry:
            name = registry.resolve(version).run
    folder = stack.state / "runs" / str(name)
    if name is None or not (folder / "run.json").is_file():
        raise NotFoundError("there is no run to report on", where=str(stack.state / "runs"), hint="run `lamina up`")
    return folder


def expected_of(run: Path) -> dict[str, Any] | None:
    """What was expected of the run in a folder before it began, where its size was chosen by what was expected."""
    from lamina.recipes.sizing import FILE as SIZING
    from lamina.recipes.sizing import read_sizing

    return read_sizing(run) if (run / SIZING).is_file() else None


def _expected_words(sizing: Mapping[str, Any]) -> str:
    return (
        f"expected before training: {sizing['bits_per_byte']:.2f} bits per byte"
        f" ({sizing['low']:.2f} to {sizing['high']:.2f})"
    )


def known_findings(stack: Stack, run: Path) -> list[Finding]:
    """The run's checks, what is known of the evaluation's questions and tasks today among them."""
    if not (run / TRUST).is_file():
        return []
    findings, corpus = from_json(read_json(run / TRUST)), recall(stack).corpus
    if corpus is None or not (stack.state / "corpora" / corpus).is_dir():
        return findings
    workshop = Workshop(stack.state, open_progress("quiet"))
    now = evaluation_apart(contamination.known(stack, stack.state / "corpora" / corpus, workshop))
    return [now if finding.what == now.what else finding for finding in findings]


def measured(stack: Stack, run: Path) -> list[str]:
    """What evaluations found of the run's model since, a line each."""
    workshop, lines = Workshop(stack.state, open_progress("quiet")), []
    corpus = recall(stack).corpus
    documents = None if corpus is None else stack.state / "corpora" / corpus
    served = workshop.folder(served_stage(stack, run, part="model", corpus=documents))
    for name, place, key in (("evaluation", served, "served"), ("row-evaluation", run, "run")):
        note = workshop.recorded(name)
        file = stack.state / "evaluations" / str((note or {}).get("key")) / "evaluation.json"
        if note is None or not place.is_dir() or not file.is_file():
            continue
        if note["recipe"]["inputs"].get(key) == digest_folder(place):
            lines += evaluation_lines(read_json(file))
    return lines


def evaluation_lines(found: Mapping[str, Any]) -> list[str]:
    """An evaluation in words, each figure with its standard error."""
    lines = []
    if "bits_per_byte" in found:
        error = bits_error(found["per_document"])
        lines.append(
            f"bits per byte of held-out documents: {found['bits_per_byte']:.4f} ± {error:.4f}"
            f" (n = {len(found['per_document']):,} documents, {found['tokens']:,} tokens; as served)"
        )
    for name, score in found.get("questions", {}).items():
        lines.append(f"questions, {name}: {score['right']} of {score['asked']} right")
    lines += task_lines(found.get("tasks", {}))
    for score in found.get("scores", ()):
        lines.append(f"{score['name']}: {score['value']:.4f} ± {score['error']:.4f} (n = {score['n']:,} held-out rows)")
    return lines


def bits_error(per_document: Sequence[tuple[float, int]]) -> float:
    """One standard error of bits per byte over documents, from (nats, bytes) of each."""
    from lamina.kit.statistics import standard_error
    from lamina.model.evaluate.score import ratio_values

    values = ratio_values([nats / _NATS for nats, _ in per_document], [size for _, size in per_document])
    return standard_error(values, range(len(values)))


def run_page(
    run: Path, evaluation: Sequence[str], findings: Sequence[Finding], figures: Mapping[str, str] | None = None
) -> str:
    """The page of the run in a folder, as HTML."""
    facts = read_json(run / "run.json")
    card = read_json(run / FACTS) if (run / FACTS).is_file() else {}
    name = card.get("name") or run.name[:8]
    size = f", {card['parameters'] / 1e6:,.1f} million parameters" if card else ""
    head = f"<p>{escape(str(facts['objective']))}, {escape(str(facts['method']))}{size}: {facts['steps']:,} steps,"
    head += f" {facts['tokens']:,} tokens learned in {facts['seconds']:,.0f} s ({escape(str(facts['precision']))}).</p>"
    found = pictures_of(run) if figures is None else figures
    parts = [
        f"<h1>{escape(name)}: a training run</h1>",
        head,
        '<div class="grid wide">' + "".join(found.values()) + "</div>",
        _figures(evaluation),
        _samples(run),
        _checks(findings),
        _settings(facts, card),
    ]
    return page(f"Run: {name}", parts)


def pictures_of(run: Path, expected: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The curves of a run, by name: figures of HTML with an SVG picture each. ``expected``: see ``sizing``."""
    rows = list(read_metrics(run / "metrics.jsonl"))
    marks = []
    if expected is not None:
        marks.append(("expected at the end", expected["bits_per_byte"] * _NATS * expected["bytes_per_token"]))

    def points(key: str) -> list[tuple[float, float]]:
        return [(row["step"], row[key]) for row in rows if row.get(key) is not None]

    def smooth(key: str) -> list[tuple[float, float]]:
        return _smoothed(points(key))

    held = points("held_out_nats")
    lines = [("training", smooth("loss_nats"))] + ([("held out", held)] if held else [])
    drawn = {
        "loss": curves("loss (nats a token)", lines, across="steps", faint=points("loss_nats"), marks=marks),
        "learning_rate": curves(
            "learning rate", [("learning rate", points("learning_rate"))], across="steps", zero=True
        ),
        "gradient_norm": curves(
            "norm of the gradient, before clipping",
            [("norm", smooth("gradient_norm"))],
            across="steps",
            faint=points("gradient_norm"),
            zero=True,
        ),
        "tokens_per_s": curves(
            "tokens learned a second",
            [("tokens/s", smooth("tokens_per_s"))],
            across="steps",
            faint=points("tokens_per_s"),
            zero=True,
        ),
    }
    return {name: figure for name, figure in drawn.items() if figure}


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means over a window of points around each."""
    half = max(1, round(len(points) * _SMOOTH / 2))
    heights = [y for _, y in points]
    sums = [0.0]
    for y in heights:
        sums.append(sums[-1] + y)
    found = []
    for n, (x, _) in enumerate(points):
        low, high = max(0, n - half), min(len(points), n + half + 1)
        found.append((x, (sums[high] - sums[low]) / (high - low)))
    return found


def _figures(lines: Sequence[str]) -> str:
    if not lines:
        return "<h2>What it is worth</h2><p>Not measured yet: lamina evaluate.</p>"
    return "<h2>What it is worth</h2>" + "".join(f"<p>{escape(line)}</p>" for line in lines)


def _samples(run: Path) -> str:
    rows = list(read_metrics(run / "samples.jsonl"))
    if not rows:
        return ""
    parts = ["<h2>What it wrote as it learned</h2>"]
    for prompt in dict.fromkeys(row["prompt"] for row in rows):
        parts.append(f"<h3>{escape(prompt)} …</h3>")
        for row in rows:
            if row["prompt"] == prompt:
                parts.append(sample(f"step {row['step']:,}", [], prompt + row["text"], shown=_SHOWN))
    return "".join(parts)


def _checks(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    kinds = {"pass": "pass", "fail": "fail", "not applicable": "none"}
    rows = [(Raw(f'<span class="{kinds[f.verdict]}">{f.verdict}</span>'), f.what, f.measured) for f in findings]
    return "<h2>What was checked of the saved model</h2>" + table(("", "check", "measured"), rows)


def _settings(facts: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    rows = {name: value for name, value in facts.items() if isinstance(value, str | int | float)}
    rows |= dict(card.get("settings", {}))
    said = [(name.replace("_", " "), _said(value)) for name, value in rows.items() if value is not None]
    return "<h2>How it was trained</h2>" + table(("", ""), said)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else str(value)


def write_measured_card(stack: Stack, run: Path, folder: Path) -> None:
    """The card of the run's model in ``folder`` again, with what was measured of it since."""
    if (run / FACTS).is_file():
        facts = read_json(run / FACTS) | {"trust": as_json(known_findings(stack, run))}
        atomic_write(folder / CARD, render(facts, measured(stack, run)).encode(), mode=0o644)
