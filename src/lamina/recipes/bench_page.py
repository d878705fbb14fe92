"""What ``lamina bench serve`` writes: figures, every request, a page with pictures; and what it says at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.durable import publish
from lamina.kit.page import as_file, curves, page, table

if TYPE_CHECKING:
    from lamina.deployment.load.outcome import Outcome

_LATE_S = 0.05  # from which on the sender itself is part of what was measured
_STRETCHES = 100  # of a run, in the picture over time
_HEAD = (
    ("load", ""), ("sent", ""), ("answered", ""), ("refused", ""), ("failed", ""), ("TTFT p50", "s"), ("p99", "s"),
    ("ITL p50", "s"), ("p99", "s"), ("end p50", "s"), ("p99", "s"), ("tokens/s", ""), ("goodput/s", ""),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One stretch of load. ``rate`` None: as many at once as ``clients``, each waiting for its answer."""

    rate: float | None
    clients: int | None
    seconds: float
    outcomes: list[Outcome]
    figures: dict[str, Any]


def write_results(folder: Path, figures: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """``summary.json``, ``requests.jsonl`` (a line a request), ``report.html`` and its pictures as SVG files."""
    pictures = pictures_of(runs)
    with publish(folder) as staging:
        (staging / "summary.json").write_text(json.dumps(figures, indent=1))
        with (staging / "requests.jsonl").open("w") as file:
            for run in runs:
                load = {"rate": run.rate, "clients": run.clients}
                file.writelines(json.dumps(load | outcome.record()) + "\n" for outcome in run.outcomes)
        for name, picture in pictures.items():
            (staging / f"{name}.svg").write_text(as_file(picture))
        (staging / "report.html").write_text(page("Load", _parts(figures, pictures.values())))


def told(figures: Mapping[str, Any]) -> str:
    """The figures as lines of text."""
    rows = [[f"{name} ({unit})" if unit else name for name, unit in _HEAD], *_rows(figures)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", *sentences(figures), f"written to {figures['folder']}"])


def sentences(figures: Mapping[str, Any]) -> list[str]:
    """What the figures say, and what to mind in them."""
    runs, said = figures["runs"], []
    bounds = ", ".join(f"{name} at most {1000 * bound:g} ms" for name, bound in runs[0]["objective"].items())
    said.append(f"good: answered whole, {bounds or 'whatever the time'}; time counts from when a request was due")
    rated = [run for run in runs if run["rate"] is not None]
    if len(rated) > 1:
        best = max(rated, key=lambda run: run["goodput_per_s"])
        said.append(f"most goodput: {best['goodput_per_s']:.3g}/s, at {best['rate']:.3g} requests/s")
    if figures["settings"]["capacity_per_s"] is not None:
        said.append(f"the most that was completed, by clients that wait: {figures['settings']['capacity_per_s']:.3g}/s")
    kinds: dict[str, int] = {}
    for run in runs:
        for kind, count in run["errors"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    if kinds:
        said.append("not answered: " + ", ".join(f"{count} x {kind}" for kind, count in kinds.items()))
    late = max((run["late_to_send"].get("p99", 0.0) for run in rated), default=0.0)
    if late > _LATE_S:
        said.append(
            f"requests were sent up to {1000 * late:.0f} ms late (p99): this process had too little of the machine,"
            " and that stands in the figures"
        )
    return said


def _rows(figures: Mapping[str, Any]) -> list[list[str]]:
    return [_row(run) for run in figures["runs"]]


def _row(run: Mapping[str, Any]) -> list[str]:
    clients = run["clients"]
    load = f"{run['rate']:.3g}/s" if run["rate"] is not None else f"{clients} client{'s' * (clients != 1)}"
    refused = sum(count for kind, count in run["errors"].items() if kind in ("429", "503"))
    failed = sum(run["errors"].values()) - refused
    times = [f"{run[name][p]:.3f}" if run[name] else "-" for name in ("ttft", "itl", "e2e") for p in ("p50", "p99")]
    rates = [f"{run['output_tokens_per_s']:.1f}", f"{run['goodput_per_s']:.3g}"]
    return [load, str(run["requests"]), str(run["completed"]), str(refused), str(failed), *times, *rates]


def _parts(figures: Mapping[str, Any], pictures: Iterable[str]) -> list[str]:
    settings = figures["settings"]
    facts = [[name.replace("_", " "), str(value)] for name, value in settings.items() if value not in (None, [], ())]
    return [
        *(f"<p>{line}</p>" for line in sentences(figures)),
        table([f"{name} ({unit})" if unit else name for name, unit in _HEAD], _rows(figures)),
        f'<div class="grid wide">{"".join(pictures)}</div>',
        "<h2>Settings</h2>",
        table(["", ""], facts),
    ]


def pictures_of(runs: Sequence[Run]) -> dict[str, str]:
    """Pictures by name: over the rates where there are several, of the highest rate by percentile and over time."""
    rated = sorted((run for run in runs if run.rate is not None), key=lambda run: run.rate or 0.0)
    found = _over_rates(rated) if len(rated) > 1 else {}
    last = rated[-1] if rated else runs[-1]
    name = f"{last.rate:.3g} requests/s" if last.rate is not None else f"{last.clients} clients"
    whole = [o for o in last.outcomes if o.tokens and o.error is None]
    if whole:
        first, ends = sorted(o.ttft or 0.0 for o in whole), sorted(o.e2e for o in whole)
        lines = [("first token", _by_percentile(first)), ("end", _by_percentile(ends))]
        found["percentiles"] = curves(f"Seconds by percentile, {name}", lines, across="%", zero=True)
        worst: dict[int, float] = {}
        for outcome in whole:
            stretch = int(_STRETCHES * outcome.intended / max(last.seconds, outcome.intended, 1e-9))
            worst[stretch] = max(worst.get(stretch, 0.0), outcome.ttft or 0.0)
        points = [(stretch * last.seconds / _STRETCHES, value) for stretch, value in sorted(worst.items())]
        found["over-time"] = curves(
            f"The slowest first token of each moment, {name}", [("first token", points)], across="s", zero=True
        )
    return found


def _over_rates(rated: Sequence[Run]) -> dict[str, str]:
    def line(*path: str) -> list[tuple[float, float]]:
        points = []
        for run in rated:
            value: Any = run.figures
            for name in path:
                value = value.get(name) if value else None
            if value is not None:
                points.append((run.rate or 0.0, float(value)))
        return points

    across = "requests/s offered"
    return {
        "latency": curves(
            "Seconds to the first token",
            [("p50", line("ttft", "p50")), ("p99", line("ttft", "p99"))],
            across=across,
            zero=True,
        ),
        "goodput": curves(
            "Requests a second",
            [("good", line("goodput_per_s")), ("answered", line("completed_per_s")), ("offered", line("rate"))],
            across=across,
            zero=True,
        ),
        "tokens": curves(
            "Tokens of answers a second", [("tokens/s", line("output_tokens_per_s"))], across=across, zero=True
        ),
    }


def _by_percentile(ordered: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(p), ordered[max(0, -(-p * len(ordered) // 100) - 1)]) for p in range(1, 101)]
