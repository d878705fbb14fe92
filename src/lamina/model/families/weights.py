"""Weight maps: which of our parameters come from which tensors of a file, as data that is read in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.spec import ModelSpec

_SHOWN = 8  # names listed of each side in an error


@dataclass(frozen=True, slots=True)
class Rule:
    """Our parameters ``ours``, stacked along their first dimension, are ``theirs`` (transposed where it says so).

    ``{i}`` stands for the number of the layer.
    """

    ours: tuple[str, ...]
    theirs: str
    transpose: bool = False


def same(ours: str, theirs: str) -> Rule:
    """One tensor under two names."""
    return Rule((ours,), theirs)


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one ``model_type`` writes its configuration and names its tensors.

    ``to_spec`` refuses what it cannot express; ``from_spec`` gives None for what the family cannot express.
    ``prefix`` may be missing from every key of a file (a model saved without its head); ``ignored`` are patterns of
    keys that hold no weights.
    """

    model_type: str
    to_spec: Callable[[Mapping[str, Any], str], ModelSpec]
    from_spec: Callable[[ModelSpec], dict[str, Any] | None]
    rules: tuple[Rule, ...]
    prefix: str
    ignored: tuple[str, ...] = field(default=())

    def from_file(
        self, theirs: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], where: str
    ) -> dict[str, Tensor]:
        """Our parameters by name, given a file's tensors and the ``shapes`` that the model expects.

        Raises ``ModelFileError`` that lists missing and unknown names, or the first tensor of a wrong shape.
        """
        named = self._with_prefix(theirs)
        ours: dict[str, Tensor] = {}
        used: set[str] = set()
        missing: list[str] = []
        for rule in self._expand(shapes):
            if rule.theirs not in named:
                missing.append(rule.theirs)
                continue
            used.add(rule.theirs)
            ours |= _read(rule, named[rule.theirs], shapes, where)
        unknown = sorted(set(named) - used)
        if missing or unknown:
            raise ModelFileError(
                f"the tensors do not fit the {self.model_type} model that config.json describes: "
                f"missing {_some(missing)}; unknown {_some(unknown)}",
                where=where,
            )
        return ours

    def to_file(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of ``from_file``: contiguous tensors under the family's names."""
        file: dict[str, Tensor] = {}
        for rule in self._expand({name: t.shape for name, t in ours.items()}):
            stacked = torch.cat([ours[name] for name in rule.ours]) if len(rule.ours) > 1 else ours[rule.ours[0]]
            file[rule.theirs] = (stacked.T if rule.transpose else stacked).contiguous()
        return file

    def _with_prefix(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        bare = not any(name.startswith(self.prefix) for name in theirs)
        renamed = {(self.prefix + n if bare and not n.startswith("lm_head.") else n): t for n, t in theirs.items()}
        return {n: t for n, t in renamed.items() if not any(re.fullmatch(p, n) for p in self.ignored)}

    def _expand(self, shapes: Mapping[str, torch.Size]) -> list[Rule]:
        """The rules, one for each layer, of parameters that the model has."""
        layers = 1 + max((int(m[1]) for name in shapes if (m := re.match(r"blocks\.(\d+)\.", name))), default=-1)
        rules = []
        for rule in self.rules:
            for i in range(layers) if "{i}" in rule.theirs else range(1):
                ours = tuple(name.replace("{i}", str(i)) for name in rule.ours)
                if all(name in shapes for name in ours):
                    rules.append(Rule(ours, rule.theirs.replace("{i}", str(i)), rule.transpose))
        return rules


def _read(rule: Rule, tensor: Tensor, shapes: Mapping[str, torch.Size], where: str) -> dict[str, Tensor]:
    expected = [shapes[name] for name in rule.ours]
    whole = torch.Size([sum(s[0] for s in expected), *expected[0][1:]])
    shape = torch.Size(reversed(whole)) if rule.transpose else whole
    if tensor.shape != shape:
        raise ModelFileError(
            f"the tensor '{rule.theirs}' has shape {tuple(tensor.shape)}; config.json asks for {tuple(shape)}",
            where=where,
        )
    parts = (tensor.T if rule.transpose else tensor).split([s[0] for s in expected])
    return dict(zip(rule.ours, parts, strict=True))


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class Fields:
    """A ``config.json``, read with errors that name the file and the key."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self._config = config
        self.where = where

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number; required when there is no ``default`` (null counts as missing)."""
        value = self._config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse(key, f"must be a whole number, not {value!r}")
        return value

    def number(self, key: str, default: float) -> float:
        """A number."""
        value = self._config.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.refuse(key, f"must be a number, not {value!r}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._config.get(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, f"must be true or false, not {value!r}")
        return value

    def choice(self, key: str, default: str, choices: Mapping[str, Any]) -> Any:
        """What ``choices`` holds for the word at ``key``."""
        value = self._config.get(key, default)
        if value not in choices:
            raise self.refuse(key, f"is {value!r}; known: {', '.join(choices)}")
        return choices[value]

    def table(self, key: str) -> Mapping[str, Any]:
        """A table; empty where it is missing or null."""
        value = self._config.get(key) or {}
        if not isinstance(value, Mapping):
            raise self.refuse(key, f"must be a table, not {value!r}")
        return value

    def refuse(self, key: str, why: str) -> ModelFileError:
        """The error for ``key``, to be raised."""
        return ModelFileError(f"'{key}' {why}", where=self.where)
