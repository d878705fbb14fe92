"""What a report's page is made of: one file without scripts or addresses, which can be mailed, printed and kept.

Tables, bars, samples of texts, curves with axes. Numbers and names stand in the pictures as text; colours are variables
of the style, for light and dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--ink:#1c1b18;--soft:#5f5c55;--paper:#fbfaf7;--card:#fff;--line:#e3e0d8;--keep:#2f8f7b;
--lose:#d9907a;--warn:#8a4b1f;--s0:#2f8f7b;--s1:#4a78b8;--s2:#b98a2e;--s3:#8a63b0;--s4:#b5577a;--s5:#5f8f3d;--s6:#3f93a8;
--s7:#8a7a66}
@media(prefers-color-scheme:dark){:root{--ink:#ece9e2;--soft:#aaa69c;--paper:#191815;--card:#22211d;--line:#3a3832;
--keep:#4fb39c;--lose:#c98a72;--warn:#e0a070;--s0:#4fb39c;--s1:#7ba3dc;--s2:#d8ab55;--s3:#b08fd4;--s4:#d97fa0;--s5:#8abb68;
--s6:#67b7cb;--s7:#b3a48f}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:66rem;margin:2.5rem auto;
padding:0 1.5rem}
h1{font-size:1.9rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2.8rem 0 .5rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}
p{margin:.3rem 0 .8rem;color:var(--soft);max-width:50rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}td,th{padding:.3rem .9rem .3rem 0;text-align:left;
border-bottom:1px solid var(--line);vertical-align:top}td.long{overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{display:inline-block;height:.7rem;background:var(--keep);border-radius:2px;vertical-align:middle}
.bar.lost,i.key.lost{background:var(--lose)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:1.4rem 2rem}figure{margin:0}
figcaption{font-size:.88rem;color:var(--soft);margin:.2rem 0}svg{width:100%;height:auto;display:block}
svg text{fill:var(--ink);font:11px system-ui,sans-serif}svg .soft{fill:var(--soft)}svg line{stroke:var(--line)}
.keep{fill:var(--keep)}.lose{fill:var(--lose)}.ribbon{opacity:.42}.ribbon.lose{opacity:.5}.ribbon:hover{opacity:.8}
.s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}.s4{fill:var(--s4)}.s5{fill:var(--s5)}
.s6{fill:var(--s6)}.s7{fill:var(--s7)}
i.key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin:0 .35rem 0 1rem;vertical-align:-.08rem}
i.key.kept{background:var(--keep)}
article{margin:.7rem 0;padding:.7rem 1rem;background:var(--card);border:1px solid var(--line);border-radius:8px}
article header{font-size:.85rem;color:var(--soft);margin-bottom:.35rem;overflow-wrap:anywhere}
article header b{color:var(--ink)}article div,blockquote{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.93rem}
blockquote{margin:.5rem 0 1rem;padding:.6rem .9rem;background:var(--card);border:1px solid var(--line);
border-radius:6px}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.faint{stroke:var(--soft);opacity:.3;stroke-width:.8}
.l0{stroke:var(--s0)}.l1{stroke:var(--s1)}.l2{stroke:var(--s2)}.l3{stroke:var(--s3)}svg line.mark{stroke:var(--lose);
stroke-dasharray:4 3}.pass{color:var(--keep)}.fail{color:var(--warn);font-weight:600}.none{color:var(--soft)}
.grid.wide{grid-template-columns:repeat(auto-fill,minmax(25rem,1fr))}
article.gone{border-left:3px solid var(--lose)}.warn{color:var(--warn)}
@media print{body{max-width:none;margin:0}article,figure{break-inside:avoid}}
"""
_WORD = 32  # characters
_POINTS = 400  # of a curve that are drawn
_TICKS = 4
_W, _H, _LEFT, _BOTTOM, _TOP = 460, 190, 52, 24, 8  # of a picture with a curve, and the room for its axes


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page of HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>'
    )


class Raw(str):
    """Text that is HTML."""

    __slots__ = ()


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers are set to the right, what is HTML already comes as ``Raw``."""
    rows = list(rows)
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    marks = [' class="n"' if n else "" for n in numeric]
    top = "".join(f"<th{m}>{escape(h)}</th>" for h, m in zip(head, marks, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{m or _long(v)}>{_cell(v)}</td>" for v, m in zip(row, marks, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _long(value: Any) -> str:
    """Words that are too long for a column are broken, others are not."""
    too_long = not isinstance(value, Raw) and any(len(word) > _WORD for word in str(value).split())
    return ' class="long"' if too_long else ""


def _cell(value: Any) -> str:
    if isinstance(value, Raw):
        return value
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def bar(part: float, whole: float, *, lost: bool = False, longest: float = 12) -> Raw:
    """``part`` of ``whole`` as a bar of at most ``longest`` rem."""
    width = longest * part / whole if whole else 0
    return Raw(f'<span class="bar{" lost" if lost else ""}" style="width:{width:.2f}rem"></span>')


def sample(title: str, facts: Sequence[str], text: str | None, *, shown: int, gone: bool = False) -> str:
    """The beginning of a text under what is known of it."""
    words = re.sub(r"\s*\n\s*", "\n", (text or "").strip())
    cut = words if len(words) <= shown else words[:shown].rsplit(" ", 1)[0] + " …"
    about = " · ".join([f"<b>{escape(title)}</b>", *(escape(fact) for fact in facts if fact)])
    kind = ' class="gone"' if gone else ""
    return f"<article{kind}><header>{about}</header><div>{escape(cut)}</div></article>"


Points = Sequence[tuple[float, float]]


def curves(
    title: str,
    lines: Sequence[tuple[str, Points]],
    *,
    across: str,
    faint: Points = (),
    marks: Sequence[tuple[str, float]] = (),
    zero: bool = False,
) -> str:
    """Curves over the same axis ``across``, each with its name; "" where there is no point.

    ``faint``: single measurements behind them; ``marks``: (what, height) of lines across; ``zero``: the axis begins
    there. Points that are not finite are left out.
    """
    drawn = [(name, [p for p in points if math.isfinite(p[1])]) for name, points in lines]
    drawn = [(name, points) for name, points in drawn if points]
    behind = [p for p in faint if math.isfinite(p[1])]
    if not drawn:
        return ""
    places = [x for _, points in drawn for x, _ in points]
    low, high = _range([y for _, points in drawn for y in _heights(points)] + [height for _, height in marks], zero)
    first, last = min(places), max(max(places), min(places) + 1)

    def place(x: float, y: float) -> str:
        across_, up = (x - first) / (last - first), (min(max(y, low), high) - low) / (high - low)
        return f"{_LEFT + across_ * (_W - _LEFT - 8):.1f},{_H - _BOTTOM - up * (_H - _BOTTOM - _TOP):.1f}"

    parts = []
    for tick in _ticks(low, high):
        y = place(first, tick).split(",")[1]
        parts.append(f'<line x1="{_LEFT}" x2="{_W - 8}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text class="soft" x="{_LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{_said(tick)}</text>'
        )
    parts.append(f'<text class="soft" x="{_LEFT}" y="{_H - 8}">{_said(first)}</text>')
    parts.append(
        f'<text class="soft" x="{_W - 8}" y="{_H - 8}" text-anchor="end">{_said(last)} {escape(across)}</text>'
    )
    if behind:
        parts.append(f'<polyline class="line faint" points="{" ".join(place(x, y) for x, y in _thinned(behind))}"/>')
    for number, (name, points) in enumerate(drawn):
        said = f"<title>{escape(name)}</title>"
        if len(points) == 1:
            x, y = place(*points[0]).split(",")
            parts.append(f'<circle class="s{number}" cx="{x}" cy="{y}" r="3">{said}</circle>')
            continue
        path = " ".join(place(x, y) for x, y in _thinned(points))
        parts.append(f'<polyline class="line l{number}" points="{path}">{said}</polyline>')
    for name, height in marks:
        y = place(first, height).split(",")[1]
        parts.append(f'<line class="mark" x1="{_LEFT}" x2="{_W - 8}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_W - 12}" y="{float(y) - 4:.1f}" text-anchor="end">{escape(name)}</text>')
    picture = f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    keys = "".join(
        f'<i class="key" style="background:var(--s{n})"></i>{escape(name)}' for n, (name, _) in enumerate(drawn)
    )
    return f"<figure><figcaption>{escape(title)}{keys if len(drawn) > 1 else ''}</figcaption>{picture}</figure>"


def as_file(figure: str) -> str:
    """The picture in a figure as an SVG file of its own."""
    picture = figure[figure.index("<svg") : figure.index("</svg>") + len("</svg>")]
    style = STYLE.replace("svg{", "svg{background:var(--paper);")
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f"><style>{style}</style>", 1
    )


def _heights(points: Points) -> list[float]:
    """What the axis must reach: all but the wildest fiftieth at either end, where there are many points."""
    heights = sorted(y for _, y in points)
    cut = len(heights) // 50 if len(heights) > 100 else 0
    return heights[cut : len(heights) - cut]


def _range(heights: Sequence[float], zero: bool) -> tuple[float, float]:
    low, high = min(heights), max(heights)
    low = min(low, 0.0) if zero else low
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero and low == 0 else low - room), high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the ends."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _said(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def _thinned(points: Points) -> list[tuple[float, float]]:
    """At most so many points, the means of equal stretches."""
    size = -(-len(points) // _POINTS)
    groups = [points[n : n + size] for n in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
