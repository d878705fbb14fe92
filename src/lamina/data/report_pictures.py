"""Pictures of the corpus page: histograms with axes, an alluvial diagram. What all pages are made of is ``kit.page``.

Numbers and names stand in the pictures as text; colours are variables of the page's style, for light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

_COLOURS = 8
_LEFT, _RIGHT, _WIDTH, _NODE, _GAP = 290, 760, 1040, 12, 9
_INCH = 260  # height of all ribbons together
_BARS = 24


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
