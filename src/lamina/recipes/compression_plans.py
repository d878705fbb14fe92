"""The plans that ``lamina compress`` tries, and the rule by which it takes one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.deployment.load.objective import Objective
from lamina.deployment.quality import read_quality
from lamina.kit.errors import InputError
from lamina.recipes.served import Form

PARENT, PRUNED = "none", "pruned"
BUDGET = 0.01  # of its bits per byte that a model may lose where nobody says otherwise
FORMS: Mapping[str, Form] = {
    PARENT: Form("none"),
    "int8": Form("int8"),
    "int8+smoothquant": Form("int8", "smoothquant"),
    "int4": Form("int4"),
    "int4+awq": Form("int4", "awq"),
    "int4+gptq": Form("int4", "gptq"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionPlan:
    """A model folder (``source``, in it ``part``) in a form; ``source`` is the parent, or what was pruned of it."""

    name: str
    form: Form
    source: Path
    part: str = ""


def plans_of(source: Path, part: str, wanted: Sequence[str], *, pruned: Path | None = None) -> list[CompressionPlan]:
    """The parent first, then the ``wanted`` plans (none named: all), with each form of what was ``pruned`` of it.

    ``pruned``: the run that did, "pruned+int8" and the like are its plans. Raises ``InputError`` for a name that is not
    known.
    """
    every = [CompressionPlan(name=name, form=form, source=source, part=part) for name, form in FORMS.items()]
    if pruned is not None:
        every += [
            CompressionPlan(
                name=PRUNED if name == PARENT else f"{PRUNED}+{name}", form=form, source=pruned, part="model"
            )
            for name, form in FORMS.items()
        ]
    known = [plan.name for plan in every]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(f"there is no plan '{unknown[0]}'", where="--plan", hint="known: " + ", ".join(known))
    return [plan for plan in every if not wanted or plan.name in (*wanted, PARENT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``times``: what a user must not wait longer for; ``quality``: the share of its bits per byte that may be lost."""

    times: Objective
    quality: float

    @classmethod
    def read(cls, text: str | None, quality: str | None) -> Target:
        """``ttft=300ms,itl=30ms,quality=-1%``, any of them; else ``quality`` as the stack file has it, else -1 %."""
        parts = [part.strip() for part in (text or "").split(",")]
        own = [part.partition("=")[2] for part in parts if part.startswith("quality")]
        if len(own) > 1:
            raise InputError("names 'quality' twice", where="--slo")
        times = Objective.read(",".join(p for p in parts if not p.startswith("quality")), where="--slo")
        if times.e2e is not None:
            raise InputError("an answer's length is not known here: no e2e", where="--slo", hint="ttft=300ms,itl=30ms")
        if own:
            return cls(times=times, quality=read_quality(own[0], where="--slo"))
        lost = BUDGET if quality is None else read_quality(quality, where="deployment.quality")
        return cls(times=times, quality=lost)

    def misses(self, row: Mapping[str, Any]) -> list[str]:
        """What a plan's ``row`` misses, in words."""
        found = []
        for name in ("ttft", "itl"):
            bound = getattr(self.times, name)
            if bound is not None and row[name] > bound:
                found.append(f"{name} {row[name] * 1e3:.1f} ms > {bound * 1e3:g} ms")
        if row["change"] > self.quality:
            found.append(f"quality {-row['change']:+.2%} < {-self.quality:+.2%}")
        return found


def chosen(rows: Sequence[Mapping[str, Any]], target: Target) -> Mapping[str, Any] | None:
    """The row of the plan to take, or None where none meets ``target``.

    With a bound on times the one that meets all and lost the least (the fastest of equals); without, the fastest within
    the quality budget.
    """
    meeting = [row for row in rows if not target.misses(row)]
    if not meeting:
        return None
    if target.times.told():
        return min(meeting, key=lambda row: (max(0.0, row["change"]), -row["tokens_per_s"]))
    return min(meeting, key=lambda row: (-row["tokens_per_s"], row["change"]))


def frontier(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the plans than which no other is both as fast and as good, and better in one of the two."""

    def beaten(row: Mapping[str, Any], by: Mapping[str, Any]) -> bool:
        as_good = by["tokens_per_s"] >= row["tokens_per_s"] and by["change"] <= row["change"]
        return as_good and bool(by["tokens_per_s"] > row["tokens_per_s"] or by["change"] < row["change"])

    return [row["name"] for row in rows if not any(beaten(row, other) for other in rows)]
