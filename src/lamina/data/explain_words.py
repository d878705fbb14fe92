"""An explanation (see ``explain``) in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from lamina.data.explain import Explanation
from lamina.data.explain_beside import in_words
from lamina.data.units import SAMPLES

_EDITS = 8  # places of an edit
_DUPLICATES = 20
_LINES = 8  # of the text


def describe(found: Explanation) -> str:
    """The explanation in words, for a terminal."""
    lines = [f"{found.id}  {'kept' if found.kept else 'not in the corpus'}"]
    lines += [f"  {name:<12} {value}" for name, value in found.facts.items() if name != "meta"]
    if found.tokens:
        lines.append(f"  {'tokens':<12} {found.tokens[0]:,} to {found.tokens[1]:,} of the shards")
    lines += ["", *_text(found)]
    if found.rules:
        lines += ["", "rules"]
        lines += [
            f"  {r['verdict']:<10} {r['reason']}: {r['expression']}  [{_values(r['values'])}]" for r in found.rules
        ]
    ruled = {name for rule in found.rules for name in rule["values"]}
    others = {name: value for name, value in found.signals.items() if name not in ruled}
    if others:
        lines += ["", "measured, and decided on by no rule", f"  {_values(others)}"]
    if found.ledger:
        lines += ["", "what happened"]
        lines += [f"  {_entry(entry)}" for entry in found.ledger]
    if found.duplicates:
        lines += ["", "duplicates", *_duplicates(found)]
    if found.children:
        lines += ["", f"augmented into {len(found.children)}: {', '.join(found.children[:5])}"]
    if found.more:
        lines += ["", f"these fit too: {', '.join(found.more)}"]
    return "\n".join(lines)


def _text(found: Explanation) -> Iterator[str]:
    if found.text:
        yield from (f"  | {line}" for line in found.text.splitlines()[:_LINES])
    elif not found.kept:
        yield f"  its text is not kept: of what a step dropped of a source the texts of {SAMPLES:,} are"


def _duplicates(found: Explanation) -> Iterator[str]:
    for one in found.duplicates[:_DUPLICATES]:
        alike = f"  Jaccard {one['jaccard']}" if one.get("jaccard") else ""
        yield f"  {one['relation']} {one['id']}{alike}"
        if "texts" in one:
            yield from (f"      {line}" for line in in_words(one["texts"]))
        if "note" in one:
            yield f"      {one['note']}"
    if len(found.duplicates) > _DUPLICATES:
        yield f"  and {len(found.duplicates) - _DUPLICATES:,} more"


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in values.items())


def _entry(entry: Mapping[str, Any]) -> str:
    what = f"{entry['step']}: {entry['action']}" + (f" {entry['reason']}" if entry["reason"] else "")
    detail = orjson.loads(entry["detail"]) if entry["detail"] else {}
    spans = detail.get("spans", []) if isinstance(detail, dict) else []
    for begin, _, old, new in spans[:_EDITS]:
        what += f"\n      at {begin}: {old!r} -> {new!r}"
    left = len(spans[_EDITS:]) + (detail.get("more", 0) if spans else 0)
    if left:
        what += f"\n      and in {left:,} more places"
    return what + (f" = {entry['value']}" if entry["value"] and entry["action"] != "edit" else "")
