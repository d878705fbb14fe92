"""What other thresholds would do, in words for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.data.what_if import WhatIf
from lamina.data.what_if_fit import Fitted, Score

_SHOWN = 3  # documents on each side of a border
_LINE = 100  # characters of a text


def describe(found: WhatIf, fitted: Fitted | None = None, *, all_rules: bool = False) -> str:
    """Losses by rule and source, rules that fall together, documents at the border; and thresholds from labels.

    Of rules that drop nothing only their number is told, unless ``all_rules``.
    """
    lines = [
        f"kept {found.kept.documents:,} of {found.measured.documents:,} documents"
        f" (before: {found.kept_before.documents:,}),"
        f" {found.kept.tokens:,} of {found.measured.tokens:,} tokens (before: {found.kept_before.tokens:,})",
        f"tokens: {found.tokens.words}",
        "",
        f"{'rule':<36} {'drops':>9} {'before':>9} {'alone':>9} {'tokens':>13}",
    ]
    rules = [r for r in found.rules if all_rules or r.lost.documents or r.lost_before.documents or r.after != r.before]
    for rule in rules:
        mark = "*" if rule.after != rule.before else " "
        lines.append(
            f"{mark}{rule.reason[:35]:<35} {rule.lost.documents:>9,} {rule.lost_before.documents:>9,}"
            f" {rule.only.documents:>9,} {rule.lost.tokens:>13,}"
            + (f"  {rule.undecided:,} undecided" if rule.undecided else "")
        )
    if len(rules) < len(found.rules):
        lines.append(f" ({len(found.rules) - len(rules)} other rules drop nothing)")
    lines += ["", f"{'source':<36} {'measured':>9} {'before':>9} {'kept':>9} {'tokens kept':>13}"]
    lines += [
        f" {name[:35]:<35} {s['measured'].documents:>9,} {s['kept_before'].documents:>9,} {s['kept'].documents:>9,}"
        f" {s['kept'].tokens:>13,}"
        for name, s in found.sources.items()
    ]
    for rule in rules:
        overlap = sorted(rule.overlap.items(), key=lambda pair: -pair[1])[:5]
        if overlap and rule.lost.documents:
            lines += ["", f"{rule.reason} drops " + ", ".join(f"{n:,} with '{other}'" for other, n in overlap)]
        elif any(rule.border.values()):
            lines += ["", rule.reason]
        for side in ("lost", "kept"):
            for row in rule.border.get(side, ())[:_SHOWN]:
                lines.append(f"  just {side}: {row['id'][:16]}  {_signals(row)}")
                lines.append(f"    | {_opening(row)}")
    return "\n".join(lines + (["", *_fitted(fitted)] if fitted else []))


def _signals(row: Mapping[str, Any]) -> str:
    values = {k: v for k, v in row.items() if k not in ("id", "source", "text")}
    told = ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in values.items())
    return f"{told}  ({row['source']})"


def _opening(row: Mapping[str, Any]) -> str:
    text = " ".join(str(row.get("text") or "").split())
    return text[:_LINE] + (" …" if len(text) > _LINE else "") if text else "(its text is not kept)"


def _fitted(fitted: Fitted) -> list[str]:
    lines = [
        f"{fitted.labels} labels: {fitted.now.good} to keep, {fitted.now.bad} to drop"
        + (f"; {fitted.unknown} more are of documents that this corpus does not know" if fitted.unknown else ""),
        f"  all rules as they are       {_told(fitted.now)}",
    ]
    if not fitted.changes:
        return [*lines, "  no other thresholds separate them better"]
    lines += [
        f"  with the changes below      {_told(fitted.together)}",
        f"  the same on unseen labels   {_told(fitted.unseen)}  (thresholds chosen in {fitted.folds} folds)",
    ]
    lines += [f'  --rule "{label.split(" ", 2)[2]}: {expression}"' for label, expression in fitted.changes.items()]
    best = sorted(fitted.alone, key=lambda p: -p.score_best.index)[:8]
    lines += ["", "each rule by itself, at its best threshold"]
    lines += [f"  {p.reason[:34]:<34} {_told(p.score_best)}  {p.best}" for p in best if p.score_best.index > 0]
    return lines


def _told(score: Score) -> str:
    precision = "-" if score.precision is None else f"{score.precision:.0%}"
    return (
        f"drops {score.bad_dropped:>3} of {score.bad} bad, {score.good_dropped:>3} of {score.good} good"
        f"   precision {precision:>4}, recall {score.recall:.0%}"
    )
