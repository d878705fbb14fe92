"""The part of the corpus' page that shows its variety: shares as bars, topics as a map, scores, gaps, the mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lamina.data.variety.gaps import percent
from lamina.data.variety.measure import read_variety

_SHOWN = {"source": 10, "language": 10, "topic": 24, "author": 8, "year": 12}
_TITLES = {"source": "Sources", "language": "Languages", "topic": "Topics", "author": "Authors", "year": "Years"}
_LABELLED = 0.012  # share of a topic from which its name stands on the map
_WIDE = "grid-template-columns:repeat(auto-fit,minmax(25rem,1fr));margin-top:1.6rem"
_COLOURS = ("#2f8f7b", "#c98a4b", "#5b7fa6", "#a0616a", "#8a9a5b", "#7d6b91", "#b0963a", "#4f8ea3")


def variety_section(
    corpus: Path, *, variety: Mapping[str, Any] | None = None, mixture: Mapping[str, Any] | None = None
) -> str:
    """HTML of what was measured (``variety``, or what lies in the corpus) and of the ``mixture`` of training."""
    found = variety or read_variety(corpus)
    if found is None:
        return ""
    shares = "".join(_share(facet, found["shares"][facet], found) for facet in _SHOWN if facet != "topic")
    gaps = "".join(f'<p class="warn">{escape(gap)}</p>' for gap in found["gaps"])
    parts = [
        "<h2>Variety</h2>",
        gaps or "<p>No gap was found.</p>",
        _scores(found),
        f'<div class="grid" style="{_WIDE}">{shares}</div>',
        _map(found["topics"]),
        _share("topic", found["shares"]["topic"], found),
        _mixture(mixture),
    ]
    return "".join(parts)


def _share(facet: str, shares: Mapping[str, Any], variety: Mapping[str, Any]) -> str:
    """One facet: the documents of each group as a bar, and its share of the characters (and training tokens)."""
    groups = list(shares["groups"])[: _SHOWN[facet]]
    if not groups:
        return ""
    if facet == "year":
        groups.sort(key=lambda g: str(g["name"]))
    most = max(max(g["documents"] for g in groups), 1)
    tokens = variety.get("tokens")
    head = ["", "", "documents", "characters", *(["training tokens"] if tokens else [])]
    rows = []
    for group in groups:
        cells = [
            percent(group["documents"] / variety["documents"]),
            percent(group["characters"] / max(variety["characters"], 1)),
            *([percent(group.get("tokens", 0) / tokens)] if tokens else []),
        ]
        bar = f'<span class="bar" style="width:{5 * group["documents"] / most:.2f}rem"></span>'
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        name = f'<td style="min-width:6rem">{escape(str(group["name"]))}</td>'
        rows.append(f"<tr>{name}<td>{bar}</td>{numbers}</tr>")
    left, unknown = shares["distinct"] - len(groups), shares["unknown"]["documents"]
    notes = [f"as varied as {shares['effective']['documents']:.1f} equal ones"]
    notes += [f"{left:,} more"] if left > 0 else []
    notes += [f"unknown for {percent(unknown / variety['documents'])} of the documents"] if unknown else []
    top = "".join(f'<th class="n">{h}</th>' if h else "<th></th>" for h in head)
    title = f"<figcaption><b>{_TITLES[facet]}</b>: {'; '.join(notes)}</figcaption>"
    return f"<figure>{title}<table><tr>{top}</tr>{''.join(rows)}</table></figure>"


def _scores(variety: Mapping[str, Any]) -> str:
    """The figures, and what each says."""
    distinct, vendi = variety["distinct"], variety["vendi"]
    rows = [
        (f"distinct {n}-grams", f"{d['mean']:.3f}", f"different ones among all, on {d['words']:,} words")
        for n, d in distinct.items()
    ]
    rows += [
        ("compression ratio", f"{variety['compression_ratio']:.2f}", "bytes for each byte of zstd: lower repeats less"),
        ("self-repetition", f"{variety['self_repetition']:.2f}", "of four-word runs across documents: lower is better"),
        (
            "Vendi score",
            f"{vendi['order_1']:,.0f}; {vendi['order_2']:,.0f}",
            f"different documents among {vendi['documents']:,}, by order 1 and 2; {variety['embedding']}",
        ),
    ]
    near = variety.get("near_duplicates")
    if near:
        rows.append(("near duplicates", percent(near["rate"]), f"of the documents: Jaccard of {near['alike']} or more"))
    cells = "".join(f'<tr><td>{a}</td><td class="n">{b}</td><td>{escape(c)}</td></tr>' for a, b, c in rows)
    return f"<table>{cells}</table>"


def _map(topics: Sequence[Mapping[str, Any]]) -> str:
    """The topics as discs: near ones are alike, the area is the share of the documents."""
    total = sum(t["documents"] for t in topics)
    shown = [t for t in topics if t["documents"]]
    if len(shown) < 2:
        return ""
    margin = 0.08
    left = min(t["x"] - t["radius"] for t in shown) - margin
    top = min(t["y"] - t["radius"] for t in shown) - margin
    width = max(t["x"] + t["radius"] for t in shown) + margin - left
    height = max(t["y"] + t["radius"] for t in shown) + margin - top
    scale = 720 / width
    marks, names = [], []
    for number, topic in enumerate(shown):
        x, y, r = (topic["x"] - left) * scale, (topic["y"] - top) * scale, topic["radius"] * scale
        share = percent(topic["documents"] / total)
        tip = f"<title>{escape(topic['name'])}: {share} of the documents</title>"
        colour = _COLOURS[number % len(_COLOURS)]
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{colour}" fill-opacity=".78">{tip}</circle>')
        if topic["documents"] >= _LABELLED * total:
            names.append(_label(topic, x, y, r, share))
    picture = "".join([*marks, *names])
    view = f"0 0 720 {height * scale:.0f}"
    caption = "Topics by what they have in common; the area is the share of the documents"
    return (
        f'<figure><svg viewBox="{view}" role="img" aria-label="{caption}">{picture}</svg>'
        f"<figcaption>{caption}.</figcaption></figure>"
    )


def _label(topic: Mapping[str, Any], x: float, y: float, r: float, share: str) -> str:
    """A topic's words, one below the other, inside its disc."""
    words = [*topic["words"][:3], share] if topic["words"] else [topic["name"], share]
    longest = max(len(word) for word in words)
    size = max(min(1.75 * r / max(longest * 0.6, 1), 1.45 * r / len(words), 14.0), 5.0)
    lines = "".join(
        f'<tspan x="{x:.1f}" y="{y + (i - (len(words) - 1) / 2) * size * 1.1 + size * 0.35:.1f}">{escape(word)}</tspan>'
        for i, word in enumerate(words)
    )
    return f'<text style="font-size:{size:.1f}px" text-anchor="middle" fill="currentColor">{lines}</text>'


def _mixture(mixture: Mapping[str, Any] | None) -> str:
    """What share each group has of the training, against that of the text."""
    if not mixture:
        return ""
    groups = mixture["groups"]
    most = max((max(g["natural"], g["share"]) for g in groups), default=0) or 1
    rows = []
    for g in groups:
        bars = "".join(
            f'<span class="bar{mark}" style="width:{9 * g[key] / most:.2f}rem"></span><br>'
            for key, mark in (("natural", " lost"), ("share", ""))
        )
        epochs = f"{g['epochs']:,.2f}" if "epochs" in g else ""
        rows.append(
            f"<tr><td>{escape(g['name'])}</td><td>{bars}</td>"
            f'<td class="n">{percent(g["natural"])}</td><td class="n">{percent(g["share"])}</td>'
            f'<td class="n">{g["tokens"]:,}</td><td class="n">{epochs}</td></tr>'
        )
    heads = ("of the text", "of the training", "tokens", "epochs")
    head = f"<th>{escape(mixture['by'])}</th><th></th>" + "".join(f'<th class="n">{h}</th>' for h in heads)
    notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in mixture.get("notes", ()))
    return (
        f"<h2>Mixture of training</h2><p>By {escape(mixture['by'])}, {escape(mixture['how'])}; the lighter bar is the"
        f" share of the text.</p>{notes}<table><tr>{head}</tr>{''.join(rows)}</table>"
    )
