"""What was measured, in words for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.data.variety.gaps import percent

_SHOWN = {"source": 12, "language": 8, "topic": 24, "author": 3, "year": 6}
_PLURALS = {"source": "sources", "language": "languages", "topic": "topics", "author": "authors", "year": "years"}


def in_words(variety: Mapping[str, Any], comparison: Mapping[str, Any] | None = None) -> str:
    """The variety of a corpus, and what a reference says of it."""
    total = variety["documents"]
    lines = [f"variety of {total:,} documents, {variety['characters']:,} characters"]
    for facet, shown in _SHOWN.items():
        lines += _facet(facet, variety["shares"][facet], variety, shown)
    distinct = variety["distinct"]
    figures = ", ".join(f"{d['mean']:.3f} (n = {n})" for n, d in distinct.items())
    vendi = variety["vendi"]
    lines += [
        f"distinct n-grams: {figures}, on {distinct['1']['words']:,} words",
        f"compression ratio {variety['compression_ratio']:.2f}, self-repetition {variety['self_repetition']:.2f}",
        f"Vendi score {vendi['order_1']:,.0f} (order 2: {vendi['order_2']:,.0f}) of {vendi['documents']:,} documents;"
        f" {variety['embedding']}",
    ]
    if "near_duplicates" in variety:
        near = variety["near_duplicates"]
        lines.append(f"near duplicates: {percent(near['rate'])} of the documents (Jaccard {near['alike']} or more)")
    gaps = list(variety["gaps"])
    if comparison is not None:
        lines += _compared(comparison)
        gaps += comparison["gaps"]
    lines += [f"gap: {gap}" for gap in gaps] or ["gaps: none found"]
    return "\n".join(lines)


def _facet(name: str, shares: Mapping[str, Any], variety: Mapping[str, Any], shown: int) -> list[str]:
    groups: Sequence[Mapping[str, Any]] = shares["groups"]
    if not groups:
        return [f"{_PLURALS[name]}: unknown"]
    unknown = shares["unknown"]["documents"] / variety["documents"]
    head = f"{_PLURALS[name]}: {shares['distinct']:,}, as varied as {shares['effective']['documents']:.1f} equal ones"
    lines = [head + (f"; unknown for {percent(unknown)} of the documents" if unknown else "")]
    tokens = sum(g.get("tokens", 0) for g in groups) + shares["others"].get("tokens", 0)
    tokens += shares["unknown"].get("tokens", 0)
    width = max(len(str(g["name"])) for g in groups[:shown])
    for group in groups[:shown]:
        parts = [
            f"{percent(group['documents'] / variety['documents']):>8} of documents",
            f"{percent(group['characters'] / variety['characters'] if variety['characters'] else 0):>8} of characters",
        ]
        if tokens:
            parts.append(f"{percent(group.get('tokens', 0) / tokens):>8} of training tokens")
        lines.append(f"  {group['name']!s:<{width}}  " + "  ".join(parts))
    left = shares["distinct"] - min(shown, len(groups))
    return lines + ([f"  and {left:,} more"] if left > 0 else [])


def _compared(comparison: Mapping[str, Any]) -> list[str]:
    vendi = comparison["vendi"]
    near = (
        f"within a distance of {comparison['radius']}"
        if comparison["radius"] is not None
        else f"as near as its {comparison['neighbours']} nearest"
    )
    return [
        f"reference: {comparison['documents']:,} documents, {comparison['characters']:,} characters;"
        f" {comparison['compared']:,} compared with as many of the corpus",
        f"  coverage {percent(comparison['coverage'])} (documents of it that have one here {near}),"
        f" density {comparison['density']:.2f}",
        f"  Vendi score {vendi['reference']['order_1']:,.0f} there, {vendi['here']['order_1']:,.0f} here,"
        f" of {vendi['here']['documents']:,} documents each",
        *(
            f"  {percent(topic['covered']):>8} covered of topic '{topic['name']}'"
            for topic in sorted(comparison["topics"], key=lambda t: (t["covered"], t["name"]))[:8]
        ),
    ]


def mixture_in_words(mixture: Mapping[str, Any]) -> list[str]:
    """The mixture of training, a line for each group."""
    width = max((len(group["name"]) for group in mixture["groups"]), default=0)
    lines = [f"mixture of training by {mixture['by']}, {mixture['how']}"]
    for group in mixture["groups"]:
        epochs = f", {group['epochs']:,.2f} epochs" if "epochs" in group else ""
        shares = f"{percent(group['natural']):>8} of the text -> {percent(group['share']):>8} of the training"
        lines.append(f"  {group['name']:<{width}}  {shares}{epochs}")
    return [*lines, *(f"  note: {note}" for note in mixture.get("notes", ()))]
