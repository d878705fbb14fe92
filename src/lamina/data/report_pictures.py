"""What the corpus page is made of: tables, bars, histograms with axes, an alluvial diagram, samples of texts.

Numbers and names stand in the pictures as text; colours are variables of the page's style, for light and dark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
article.gone{border-left:3px solid var(--lose)}.warn{color:var(--warn)}
@media print{body{max-width:none;margin:0}article,figure{break-inside:avoid}}
"""
_COLOURS = 8
_LEFT, _RIGHT, _WIDTH, _NODE, _GAP = 290, 760, 1040, 12, 9
_INCH = 260  # height of all ribbons together
_BARS = 24
_WORD = 32  # characters


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
    about = " · ".join(escape(fact) for fact in facts if fact)
    kind = ' class="gone"' if gone else ""
    return f"<article{kind}><header><b>{escape(title)}</b> · {about}</header><div>{escape(cut)}</div></article>"


def histogram(title: str, values: NDArray[np.float64], kept: NDArray[np.bool_], *, powers: bool = False) -> str:
    """How many documents have which value: those kept, and on them those dropped; "" where there are none.

    Values above the 99.5th percentile stand in the last bar. ``powers``: the values are logarithms to the base 2.
    """
    if not len(values):
        return ""
    low, high = float(values.min()), float(np.quantile(values, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, _BARS + 1)
    clipped = np.clip(values, edges[0], edges[-1])
    stays, goes = np.histogram(clipped[kept], edges)[0], np.histogram(clipped[~kept], edges)[0]
    most = max(int((stays + goes).max()), 1)

    def say(value: float) -> str:
        return f"{2**value:,.0f}" if powers else f"{value:.3g}"

    parts = [f'<text class="soft" x="0" y="10">{most:,} documents</text>']
    for n, (a, b) in enumerate(zip(stays.tolist(), goes.tolist(), strict=True)):
        first, second = 90 * a / most, 90 * b / most
        told = f"<title>{say(edges[n])} to {say(edges[n + 1])}: {a:,} kept, {b:,} dropped</title>"
        place = f'x="{n * 12.5:.1f}" width="11.5"'
        parts.append(f'<rect class="keep" {place} y="{105 - first:.1f}" height="{first:.1f}">{told}</rect>')
        if b:
            y = 105 - first - second
            parts.append(f'<rect class="lose" {place} y="{y:.1f}" height="{second:.1f}">{told}</rect>')
    middle = float(np.median(values))
    at = 300 * (min(max(middle, edges[0]), edges[-1]) - edges[0]) / (edges[-1] - edges[0])
    parts.append(f'<line x1="0" x2="300" y1="105.5" y2="105.5"/><line x1="{at:.1f}" x2="{at:.1f}" y1="105" y2="110"/>')
    parts.append(f'<text x="0" y="121">{say(edges[0])}</text>')
    parts.append(f'<text x="300" y="121" text-anchor="end">{say(edges[-1])}</text>')
    if 55 < at < 245:
        parts.append(f'<text class="soft" x="{at:.1f}" y="121" text-anchor="middle">median {say(middle)}</text>')
    picture = f'<svg viewBox="0 0 300 124" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}</figure>"


@dataclass(slots=True)
class _Node:
    """A bar of the diagram: ``top`` and ``height`` on the page, ``used`` from the top by ribbons so far."""

    label: str
    total: float
    top: float = 0.0
    height: float = 0.0
    used: float = 0.0


def alluvial(
    title: str,
    flows: Mapping[tuple[str, str], float],
    *,
    sources: Sequence[str],
    fates: Sequence[str],
    kept: str,
    unit: str,
) -> str:
    """Where things of each source went: ``flows`` are amounts by (source, fate), of which ``kept`` is the good one.

    Sources and fates stand in the order given, sources told apart by colour.
    """
    left, right = _nodes(flows, 0, sources), _nodes(flows, 1, fates)
    whole = sum(node.total for node in left.values())
    if not whole:
        return ""
    height = max(_placed(left, whole), _placed(right, whole)) + 14
    colours = {name: f"s{n % _COLOURS}" for n, name in enumerate(sources)}
    parts = []
    for fate in right:
        for source in left:
            amount = flows.get((source, fate), 0)
            if amount:
                shape = _ribbon(left[source], right[fate], amount)
                told = f"<title>{escape(source)}: {amount:,.0f} {unit} {escape(fate)}</title>"
                parts.append(f'<path class="ribbon {colours[source]}" d="{shape}">{told}</path>')
    for name, node in left.items():
        share = f"{node.total:,.0f} · {_percent(node.total / whole)}"
        parts.append(_bar_of(node, _LEFT - _NODE, colours[name]) + _label(node, _LEFT - _NODE - 8, share, "end"))
    for name, node in right.items():
        share = f"{node.total:,.0f} · {_percent(node.total / whole)}"
        kind = "keep" if name == kept else "lose"
        parts.append(_bar_of(node, _RIGHT, kind) + _label(node, _RIGHT + _NODE + 8, share, "start"))
    picture = f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}</figure>"


def _nodes(flows: Mapping[tuple[str, str], float], side: int, order: Sequence[str]) -> dict[str, _Node]:
    totals = dict.fromkeys(order, 0.0)
    for pair, amount in flows.items():
        totals[pair[side]] += amount
    return {name: _Node(name, total) for name, total in totals.items() if total}


def _placed(nodes: Mapping[str, _Node], whole: float) -> float:
    """Set the nodes below each other, each with room for its label; where the last one ends."""
    y = 8.0
    for node in nodes.values():
        node.top, node.height = y, max(1.5, _INCH * node.total / whole)
        y += max(node.height, 16) + _GAP
    return y


def _ribbon(source: _Node, fate: _Node, amount: float) -> str:
    """A band from where ``source`` has its next part to where ``fate`` has."""
    a, b = source.height * amount / source.total, fate.height * amount / fate.total
    y, z = source.top + source.used, fate.top + fate.used
    source.used += a
    fate.used += b
    middle = (_LEFT + _RIGHT) / 2
    return (
        f"M{_LEFT},{y:.1f}C{middle},{y:.1f} {middle},{z:.1f} {_RIGHT},{z:.1f}V{z + b:.1f}"
        f"C{middle},{z + b:.1f} {middle},{y + a:.1f} {_LEFT},{y + a:.1f}Z"
    )


def _bar_of(node: _Node, x: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x}" y="{node.top:.1f}" width="{_NODE}" height="{node.height:.1f}"/>'


def _label(node: _Node, x: float, share: str, anchor: str) -> str:
    y = node.top + max(node.height, 16) / 2 + 4
    name = node.label if len(node.label) <= 28 else node.label[:27] + "…"
    words = f'{escape(name)} <tspan class="soft">{share}</tspan>'
    return f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "<0.1%"
