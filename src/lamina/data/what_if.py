"""Other thresholds, tried on signals that are measured already: what would be kept, and what each rule costs.

Only the Decides are run again. What passes dropped (duplicates) is left out on both sides: another set of documents
would have other duplicates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from lamina.kit.errors import ConfigError, InputError

if TYPE_CHECKING:
    import polars as pl

SHOWN = 5  # documents at the border, on each side
_COMPARISON = re.compile(r"([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A Decide of the corpus. Losses are documents and characters of which it is false."""

    label: str
    reason: str
    before: str  # expression
    after: str
    lost_before: tuple[int, int]
    lost: tuple[int, int]
    only: tuple[int, int]  # lost by this rule and no other
    overlap: Mapping[str, int]  # documents that another rule drops too
    border: Mapping[str, tuple[Mapping[str, Any], ...]]  # "kept" and "lost": the documents nearest to its thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What other rules would do. Pairs are (documents, characters)."""

    measured: tuple[int, int]
    kept_before: tuple[int, int]
    kept: tuple[int, int]
    rules: tuple[Rule, ...]
    sources: Mapping[str, tuple[int, int, int]]  # measured, kept before, kept now


def what_if(corpus: Path, changes: Mapping[str, str] | None = None) -> WhatIf:
    """Try ``changes``, from a rule's reason (or number, or label) to another expression, "" for no such rule.

    Raises ``ConfigError`` for a rule that there is not, or an expression that cannot be decided.
    """
    import polars as pl

    file = corpus / "signals" / "steps.json"
    if not file.exists():
        raise InputError("this corpus keeps no signals", where=str(corpus), hint="lamina data build makes it anew")
    decides = [s for s in orjson.loads(file.read_bytes())["steps"] if s["kind"] == "decide" and s["phase"] == 0]
    chosen = {_named(key, decides): expression for key, expression in (changes or {}).items()}
    frame = pl.read_parquet(corpus / "signals" / "phase-0.parquet")
    before, after = {}, {}
    for step in decides:
        label = step["label"]
        stood = frame[f"decide:{label}"].fill_null(True)
        before[label] = stood
        expression = chosen.get(label, step["expression"])
        after[label] = stood if expression == step["expression"] else _verdict(frame, expression, label)
    sizes = frame["_characters"].fill_null(0)
    rules = tuple(
        _rule(frame, sizes, step, chosen.get(step["label"], step["expression"]), before, after) for step in decides
    )
    was, now = _all(before, frame.height), _all(after, frame.height)
    return WhatIf(
        measured=(frame.height, int(sizes.sum())),
        kept_before=_size(was, sizes),
        kept=_size(now, sizes),
        rules=rules,
        sources=_by_source(frame, was, now),
    )


def describe(found: WhatIf) -> str:
    """In words, for a terminal."""
    lines = [
        f"kept {found.kept[0]:,} of {found.measured[0]:,} documents (before: {found.kept_before[0]:,}),"
        f" {found.kept[1]:,} of {found.measured[1]:,} characters (before: {found.kept_before[1]:,})",
        "",
        f"{'rule':<24} {'drops':>9} {'before':>9} {'alone':>9}  characters",
    ]
    for rule in found.rules:
        lines.append(
            f"{rule.reason[:24]:<24} {rule.lost[0]:>9,} {rule.lost_before[0]:>9,} {rule.only[0]:>9,}  {rule.lost[1]:,}"
        )
    lines += ["", f"{'source':<24} {'measured':>9} {'before':>9} {'kept':>9}"]
    lines += [f"{name[:24]:<24} {a:>9,} {b:>9,} {c:>9,}" for name, (a, b, c) in found.sources.items()]
    for rule in found.rules:
        overlap = ", ".join(f"{count:,} with '{other}'" for other, count in rule.overlap.items() if count)
        if rule.lost[0] and overlap:
            lines += ["", f"{rule.reason}: {overlap}"]
        for side in ("lost", "kept"):
            lines += [f"  just {side}: {row['id']}  {_told(row)}" for row in rule.border[side][:3]]
    return "\n".join(lines)


def _told(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in row.items() if k != "id")


def _named(key: str, decides: list[dict[str, Any]]) -> str:
    for step in decides:
        if key in (step["label"], step["reason"], step["label"].split()[0].lstrip("0")):
            return str(step["label"])
    known = ", ".join(f"{s['label'].split()[0].lstrip('0') or 0} ({s['reason']})" for s in decides)
    raise ConfigError(f"there is no rule '{key}'", where="what-if", hint=f"rules: {known}")


def _verdict(frame: pl.DataFrame, expression: str, label: str) -> pl.Series:
    import polars as pl

    if not expression.strip():
        return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    try:
        verdict = frame.select(v=pl.sql_expr(expression).cast(pl.Boolean))["v"].fill_null(True)
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        columns = ", ".join(n for n in frame.columns if not n.startswith(("decide:", "_")))
        what = str(error).split("\n")[0]
        raise ConfigError(
            f"'{expression}' cannot be decided: {what}", where=label, hint=f"columns: {columns}"
        ) from None
    if len(verdict) != frame.height:
        raise ConfigError(f"'{expression}' gives one verdict for many documents", where=label)
    return verdict


def _all(verdicts: Mapping[str, pl.Series], rows: int) -> pl.Series:
    import polars as pl

    kept = pl.repeat(True, rows, dtype=pl.Boolean, eager=True)
    for verdict in verdicts.values():
        kept = kept & verdict
    return kept


def _size(chosen: pl.Series, sizes: pl.Series) -> tuple[int, int]:
    return int(chosen.sum()), int(sizes.filter(chosen).sum())


def _rule(
    frame: pl.DataFrame,
    sizes: pl.Series,
    step: Mapping[str, Any],
    expression: str,
    before: Mapping[str, pl.Series],
    after: Mapping[str, pl.Series],
) -> Rule:
    label = step["label"]
    lost = ~after[label]
    others = {name: verdict for name, verdict in after.items() if name != label}
    return Rule(
        label=label,
        reason=step["reason"],
        before=step["expression"],
        after=expression,
        lost_before=_size(~before[label], sizes),
        lost=_size(lost, sizes),
        only=_size(lost & _all(others, frame.height), sizes),
        overlap={name.split(" ", 2)[-1]: int((lost & ~verdict).sum()) for name, verdict in others.items()},
        border={side: _border(frame, expression, chosen) for side, chosen in (("lost", lost), ("kept", ~lost))},
    )


def _border(frame: pl.DataFrame, expression: str, chosen: pl.Series) -> tuple[dict[str, Any], ...]:
    """The documents of one side whose signals come nearest to a threshold of the rule, relative to the threshold."""
    import polars as pl

    tests = [(n, float(t)) for n, _, t in _COMPARISON.findall(expression) if n in frame.columns]
    if not tests:
        return ()
    far = [((pl.col(n).cast(pl.Float64) - t).abs() / max(abs(t), 1e-9)) for n, t in tests]
    names = list(dict.fromkeys(n for n, _ in tests))
    rows = frame.filter(chosen).select("id", *names, _far=pl.min_horizontal(far)).filter(pl.col("_far").is_not_null())
    nearest = rows.bottom_k(SHOWN, by="_far").sort("_far", "id").drop("_far")
    return tuple(nearest.iter_rows(named=True))


def _by_source(frame: pl.DataFrame, was: pl.Series, now: pl.Series) -> dict[str, tuple[int, int, int]]:
    import polars as pl

    table = (
        frame.select("source", was=was, now=now)
        .group_by("source")
        .agg(pl.len(), pl.col("was").sum(), pl.col("now").sum())
        .sort("source")
    )
    return {str(source): (int(a), int(b), int(c)) for source, a, b, c in table.iter_rows()}
