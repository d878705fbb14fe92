"""Other thresholds, tried on signals that are measured already: what would be kept, and what each rule costs.

Only the Decides are run again. What passes dropped (duplicates) is left out on both sides: another set of documents
would have other duplicates. Of a document that an earlier rule dropped before a pass, the rules behind that pass know
nothing; they count as kept by those.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.data.what_if_border import borders, with_texts
from lamina.data.what_if_signals import Measured, Tokens, Verdicts, columns_of, open_signals
from lamina.kit.errors import ConfigError

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Amount:
    """Some documents, and what is in them."""

    documents: int
    tokens: int
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A Decide of the corpus. What it loses are the documents of which it is false."""

    label: str
    reason: str
    before: str  # expression
    after: str
    lost_before: Amount
    lost: Amount
    only: Amount  # lost by this rule and no other
    undecided: int  # documents that it cannot tell, and keeps
    overlap: Mapping[str, int]  # documents that another rule (its reason) drops too
    border: Mapping[str, tuple[Mapping[str, Any], ...]]  # "kept" and "lost": the documents nearest to its thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What other rules would do. ``tokens`` says how tokens were counted."""

    measured: Amount
    kept_before: Amount
    kept: Amount
    rules: tuple[Rule, ...]
    sources: Mapping[str, Mapping[str, Amount]]  # source: measured, kept_before, kept
    tokens: Tokens


def what_if(corpus: Path, changes: Mapping[str, str] | None = None, *, tokens: Path | None = None) -> WhatIf:
    """Try ``changes``, from a rule's reason (or number, or label) to another expression, "" for no such rule.

    ``tokens``: the corpus' token shards, by which tokens are counted. Raises ``ConfigError`` for a rule that there is
    not, or an expression that cannot be decided.
    """
    signals = open_signals(corpus)
    chosen = {_named(key, signals.decides)["label"]: expression for key, expression in (changes or {}).items()}
    steps = [replace_expression(step, chosen.get(step["label"])) for step in signals.decides]
    needed = columns_of([s["now"] for s in steps if s["now"] != s["expression"]], signals.columns)
    measured = signals.read(needed, tokens)
    before = Verdicts(measured, signals.decides)
    after = before.changed(steps)
    was, now = before.kept(), after.kept()
    sides = borders(signals, measured, steps, after, [s["now"] != s["expression"] for s in steps])
    labels = [step["label"] for step in steps]
    shared = _shared([~after[label] for label in labels])
    lost = {label: _amount(~after[label], measured) for label in labels}
    lost_before = {
        label: lost[label] if after[label] is before[label] else _amount(~before[label], measured) for label in labels
    }
    only = _alone(after, labels, measured)
    rules = tuple(
        Rule(
            label=step["label"],
            reason=step["reason"],
            before=step["expression"],
            after=step["now"],
            lost_before=lost_before[step["label"]],
            lost=lost[step["label"]],
            only=only[place],
            undecided=after.undecided[step["label"]],
            overlap={steps[j]["reason"]: int(n) for j, n in enumerate(shared[place]) if j != place and n},
            border=sides[place],
        )
        for place, step in enumerate(steps)
    )
    return WhatIf(
        measured=_amount(np.ones(len(measured), np.bool_), measured),
        kept_before=_amount(was, measured),
        kept=_amount(now, measured),
        rules=rules,
        sources=_by_source(measured, was, now),
        tokens=measured.tokens,
    )


def replace_expression(step: Mapping[str, Any], expression: str | None) -> dict[str, Any]:
    """The step with ``now``: the expression to try."""
    return {**step, "now": step["expression"] if expression is None else expression}


def with_examples(found: WhatIf, corpus: Path) -> WhatIf:
    """The same with the beginnings of the texts at the borders."""
    sides = with_texts(corpus, [dict(rule.border) for rule in found.rules])
    return replace(found, rules=tuple(replace(r, border=b) for r, b in zip(found.rules, sides, strict=True)))


def changes_of(told: Sequence[str], corpus: Path) -> dict[str, str]:
    """ "RULE: EXPRESSION" of each as rule and expression; a rule's name may have a colon in it.

    Raises ``ConfigError`` for what has no such form.
    """
    decides = open_signals(corpus).decides
    changes: dict[str, str] = {}
    for text in told:
        pairs = [(text[: m.start()].strip(), text[m.end() :].strip()) for m in re.finditer(":", text)]
        if not pairs:
            raise ConfigError(f"'{text}' is no rule and expression", where="what-if", hint='"quality: words >= 50"')
        names = _names(decides)
        rule, expression = next((pair for pair in pairs[::-1] if pair[0] in names), pairs[0])
        changes[rule] = expression
    return changes


def _names(decides: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What each rule may be called: label, reason, the reason without its recipe, number."""
    names: dict[str, Mapping[str, Any]] = {}
    for step in decides:
        number = step["label"].split()[0].lstrip("0") or "0"
        for name in (step["label"], step["reason"], step["reason"].split(": ")[-1], number):
            names.setdefault(name, step)
    return names


def _named(key: str, decides: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    names = _names(decides)
    if key in names:
        return names[key]
    close = difflib.get_close_matches(key, names, n=1)
    known = ", ".join(f"{s['label'].split()[0].lstrip('0') or 0} ({s['reason']})" for s in decides)
    hint = (f"did you mean '{close[0]}'? " if close else "") + f"rules: {known}"
    raise ConfigError(f"there is no rule '{key}'", where="what-if", hint=hint)


def _amount(which: Bools, measured: Measured) -> Amount:
    rows = np.flatnonzero(which)
    return Amount(len(rows), int(measured.token_counts[rows].sum()), int(measured.characters[rows].sum()))


def _alone(verdicts: Verdicts, labels: Sequence[str], measured: Measured) -> list[Amount]:
    """What each rule drops that no other does: of such documents the one rule is the sum of all that say no."""
    rows = np.flatnonzero(verdicts.failed == 1)
    rule = np.zeros(len(rows), np.int16)
    for place, label in enumerate(labels):
        rule += np.int16(place) * ~verdicts[label][rows]
    columns = (None, measured.token_counts[rows], measured.characters[rows])
    sums = [np.bincount(rule, weights=column, minlength=len(labels)) for column in columns]
    return [Amount(*(round(float(column[place])) for column in sums)) for place in range(len(labels))]


def _shared(lost: Sequence[Bools]) -> NDArray[np.int64]:
    """Documents that both of two rules lose, (R, R): bits, since a million documents times all pairs is much."""
    bits = np.stack([np.packbits(one) for one in lost]) if lost else np.zeros((0, 0), np.uint8)
    out = np.zeros((len(lost), len(lost)), np.int64)
    any_lost = [bool(row.any()) for row in bits]
    for i in range(len(lost)):
        for j in range(i):
            if any_lost[i] and any_lost[j]:
                out[i, j] = out[j, i] = int(np.bitwise_count(bits[i] & bits[j]).sum(dtype=np.int64))
    return out


def _by_source(measured: Measured, was: Bools, now: Bools) -> dict[str, dict[str, Amount]]:
    names, places = measured.sources
    found: dict[str, dict[str, Amount]] = {name: {} for name in names}
    for side, which in (("measured", None), ("kept_before", was), ("kept", now)):
        sums = [
            np.bincount(
                places,
                weights=which if weights is None else weights if which is None else weights * which,
                minlength=len(names),
            )
            for weights in (None, measured.token_counts, measured.characters)
        ]
        for place, name in enumerate(names):
            found[name][side] = Amount(*(round(float(column[place])) for column in sums))
    return dict(sorted(found.items()))
