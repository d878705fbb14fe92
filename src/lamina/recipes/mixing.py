"""``[data.mixture]``: checked as early as its groups are known, settled when the length of a run is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.data.mixture import Group, Mixture, Rule, check_names, plan_mixture
from lamina.kit.config import build, resolved
from lamina.kit.errors import ConfigError
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.data.batches import PackedBatches, Part
    from lamina.data.shards import Shards


def check_mixture(stack: Stack, *, sources: Sequence[str] = (), corpus: Path | None = None) -> None:
    """Refuse weights for groups that there are not: of sources before anything is built, of others once it is."""
    rule = None if stack.data is None else stack.data.mixture
    if rule is None or not rule.weights:
        return
    known: Sequence[str] = sources if rule.by == "source" else ()
    if corpus is not None and corpus.exists():
        from lamina.data.mixture_groups import known_groups

        known = known_groups(corpus, rule.by)
    if known:
        _named(stack, rule, known)


def mixture_stage(stack: Stack, corpus: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Parameters and inputs that a mixture adds to the training stage; none where the stack has none."""
    rule = None if stack.data is None else stack.data.mixture
    return ({}, {}) if rule is None else ({"mixture": resolved(rule)}, {"corpus": corpus})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """A mixture on its way: the groups are the first parts of the stream, ``weight`` is theirs together."""

    rule: Rule
    groups: tuple[Group, ...]
    weight: float

    def parts(self, shards: Shards) -> list[Part]:
        """The groups as parts of a stream, in their natural shares."""
        from lamina.data.batches import Part

        sizes = [float((shards.ends[g.documents] - _starts(shards)[g.documents]).sum()) for g in self.groups]
        total = sum(sizes) or 1.0
        return [
            Part(shards=shards, weight=self.weight * size / total, documents=group.documents)
            for group, size in zip(self.groups, sizes, strict=True)
        ]

    def settle(self, stream: PackedBatches, rows: int) -> Mixture:
        """Weigh the parts of ``stream`` for a run of ``rows`` rows."""
        count = len(self.groups)
        others = stream.weights[count:]
        documents = rows * (1.0 - sum(others))
        tokens, packed = stream.tokens_per_epoch[:count], stream.rows_per_epoch[:count]
        found = plan_mixture(self.groups, tokens, packed, self.rule, run=documents)
        shares = {portion.name: portion.rows for portion in found.portions}
        stream.weigh([*((1.0 - sum(others)) * shares[g.name] for g in self.groups), *others])
        return found


def open_mixing(
    parameters: Mapping[str, Any], inputs: Mapping[str, Path], shards: Shards, weight: float
) -> Mixing | None:
    """The mixture of a training stage, if it has one."""
    if "mixture" not in parameters:
        return None
    from lamina.data.mixture_groups import groups_of

    rule = build(Rule, parameters["mixture"], where="data.mixture")
    return Mixing(rule=rule, groups=tuple(groups_of(shards, inputs["corpus"], rule.by)), weight=weight)


def _starts(shards: Shards) -> Any:
    import numpy as np

    return np.concatenate([np.zeros(1, np.int64), shards.ends[:-1]])


def _named(stack: Stack, rule: Rule, known: Sequence[str]) -> None:
    try:
        check_names(rule, known)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{stack.file.name}: {error.where}", hint=error.hint) from None
