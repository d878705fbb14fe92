"""What ``lamina compress`` found: as lines for a terminal, a page, a picture, a section of the model card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lamina.kit.page import as_file, curves, page
from lamina.kit.page import table as html_table

_HEAD = ("plan", "MB", "parameters", "tokens/s", "ttft ms", "itl ms", "bandwidth", "bits/byte", "perplexity", "change")
_MORE = ("KL, nats", "top-1", "")
_POINT = re.compile(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>([^<]*)</title></circle>')
#: Of the picture: half of its width, the room of a letter and of a line, where a name's foot may be at most.
_MIDDLE, _LETTER, _LINE, _HIGHEST, _LOWEST = 230, 6.2, 12, 10, 172


def cells(row: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    """A plan as words, in the order of ``head``."""
    scores = row.get("tasks") or {}
    return [
        row["name"],
        f"{row['bytes'] / 1e6:,.1f}",
        f"{row['parameters'] / 1e6:,.1f} M",
        _number(row.get("tokens_per_s"), "{:.1f}"),
        _number(row.get("ttft"), "{:.0f}", 1e3),
        _number(row.get("itl"), "{:.1f}", 1e3),
        _number(row.get("bandwidth_share"), "{:.0%}"),
        f"{row['bits_per_byte']:.4f}",
        _number(row["perplexity"], "{:.3f}"),
        f"{row['change']:+.2%}" + (f" ± {row['change_error']:.2%}" if row.get("change_error") else ""),
        _number(row["kl"], "{:.4f}"),
        _number(row["agreement"], "{:.1%}"),
        *(_number((scores.get(name) or {}).get("value"), "{:.4f}") for name in tasks),
        "; ".join(row["misses"]) or {True: "frontier", False: "beaten", None: ""}[row["frontier"]],
    ]


def head(tasks: Sequence[str]) -> list[str]:
    """The names of the columns."""
    return [*_HEAD, *_MORE[:2], *tasks, _MORE[2]]


def tasks_of(table: Mapping[str, Any]) -> list[str]:
    """The names of the tasks that were measured."""
    return list(dict.fromkeys(name for row in table["plans"] for name in row.get("tasks") or {}))


def lines(table: Mapping[str, Any]) -> str:
    """The table for a terminal, and what was taken."""
    tasks = tasks_of(table)
    rows = [head(tasks), *(cells(row, tasks) for row in table["plans"])]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    drawn = []
    for row in rows:
        padded = [c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))]
        drawn.append("  ".join([*padded[:-1], row[-1]]).rstrip())
    return "\n".join(drawn)


def verdict(table: Mapping[str, Any]) -> str:
    """Which plan was taken, and for what."""
    wanted = [f"{name} at most {bound * 1e3:g} ms" for name, bound in table["slo"].items()]
    wanted.append(f"at most {table['quality']:.2%} more bits per byte than the parent")
    said = ", ".join(wanted)
    if table["chosen"] is None:
        return f"no plan meets what was asked: {said}"
    return f"taken: {table['chosen']} ({table['because']}; {said})"


def figure(table: Mapping[str, Any]) -> str:
    """The plans as points, tokens a second against the change of the bits per byte, the frontier as a line."""
    rows = table["plans"]
    points = [(row["name"], [(row["tokens_per_s"], row["change"] * 100)]) for row in rows]
    edge = sorted((row["tokens_per_s"], row["change"] * 100) for row in rows if row["frontier"])
    marks = [("the quality budget", table["quality"] * 100)]
    title = "bits per byte more than the parent, %"
    drawn = curves(title, points, across="tokens/s", faint=edge, marks=marks)
    taken: list[tuple[float, float, float]] = []
    return _POINT.sub(lambda point: point[0] + _name_of(point, taken), drawn)


def _name_of(point: re.Match[str], taken: list[tuple[float, float, float]]) -> str:
    """The name of a point's plan, above or below it where no other name is ``taken`` (left, right, foot), to the side
    where there is room."""
    x, y, name = float(point[1]), float(point[2]), point[3]
    ends = x > _MIDDLE
    left = x - _LETTER * len(name) if ends else x
    right = left + _LETTER * len(name)

    def free(foot: float) -> bool:
        return _HIGHEST <= foot <= _LOWEST and not any(
            left < other[1] and other[0] < right and abs(foot - other[2]) < _LINE for other in taken
        )

    foot = next(filter(free, (y + step for step in (-7, 15, -19, 27, -31, -43))), y + 15)
    taken.append((left, right, foot))
    anchor = ' text-anchor="end"' if ends else ""
    return f'<text x="{x:.1f}" y="{foot:.1f}"{anchor}>{name}</text>'


def figure_file(table: Mapping[str, Any]) -> str:
    """The picture as an SVG file."""
    return as_file(figure(table))


def report_page(table: Mapping[str, Any]) -> str:
    """The page, as HTML."""
    tasks = tasks_of(table)
    about = [f"{table['tokens']:,} tokens of {table['texts']:,} held-out documents", f"on {table['machine']}"]
    about.append("one stream, plans in turns, medians")
    notes = (
        "Change, KL and top-1 are against the parent in full precision. ± is one standard error over documents. "
        f"The first token comes after a prompt of {table['prompt']} tokens. Bandwidth is the share of the memory's "
        "measured rate at which weights are read."
    )
    return page(
        f"Compression: {table['stack']}",
        [
            f"<h1>{escape(table['stack'])}: plans of compression</h1>",
            f"<p>{escape('; '.join(about))}.</p>",
            f"<p>{escape(verdict(table))}</p>",
            f'<div class="grid wide">{figure(table)}</div>',
            html_table(head(tasks), [cells(row, tasks) for row in table["plans"]]),
            f"<p>{escape(notes)}</p>",
        ],
    )


def card_section(table: Mapping[str, Any]) -> str:
    """A section of Markdown for the card of the model that was taken."""
    tasks = tasks_of(table)
    rows = [head(tasks), ["---"] * len(head(tasks)), *(cells(row, tasks) for row in table["plans"])]
    drawn = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    about = f"Measured on {table['tokens']:,} tokens of {table['texts']:,} held-out documents"
    about += "." if table["machine"] is None else f", on {table['machine']}."
    return f"## Compression\n\nThis is the plan `{table['chosen']}` of those below. {about}\n\n{drawn}\n"


def _number(value: float | None, form: str, times: float = 1.0) -> str:
    return "-" if value is None else form.format(value * times)
