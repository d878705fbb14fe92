"""Weight maps: which of our parameters come from which tensors of a file, as data that is read in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.spec import HeadSpec, ModelSpec

_SHOWN = 8  # names listed of each side in an error


@dataclass(frozen=True, slots=True)
class Rule:
    """Our parameters ``ours``, stacked along their first dimension, are ``theirs`` (transposed where it says so).

    ``{i}`` stands for the number of the layer. ``row``: theirs has a first dimension of 1 more. The rule is for models
    that have the parameter ``beside`` as well, or do not have ``without``.
    """

    ours: tuple[str, ...]
    theirs: str
    transpose: bool = False
    row: bool = False
    beside: str | None = None
    without: str | None = None

    def of_layer(self, i: int) -> Rule:
        """The rule for layer ``i``."""

        def named(name: str | None) -> str | None:
            return None if name is None else name.replace("{i}", str(i))

        return replace(
            self,
            ours=tuple(name.replace("{i}", str(i)) for name in self.ours),
            theirs=self.theirs.replace("{i}", str(i)),
            beside=named(self.beside),
            without=named(self.without),
        )


def plain_decoder(spec: ModelSpec) -> bool:
    """Whether ``spec`` is a causal decoder alone, with a head that is a matrix and no outputs beside it."""
    stack, head = spec.decoder, spec.head
    return bool(
        stack
        and head
        and spec.encoder is None
        and stack.causal
        and stack.relative is None
        and head == HeadSpec(tied=head.tied)
        and not spec.outputs
    )


def same(ours: str, theirs: str, *, beside: str | None = None, without: str | None = None) -> Rule:
    """One tensor under two names."""
    return Rule((ours,), theirs, beside=beside, without=without)


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one ``model_type`` writes its configuration and names its tensors.

    ``to_spec`` refuses what it cannot express; ``from_spec`` gives None for what the family cannot express.
    ``prefix`` may be missing from every key of a file (a model saved without its head); ``ignored`` are patterns of
    keys that hold no weights; ``renamed``: patterns of old names, with what stands there now.
    ``settle`` corrects a specification by the names that a file holds, where config.json does not say enough.
    ``bare``: a file in which every name would have the prefix is written without it. ``defaults`` stand in a written
    config.json where nothing else is known, since the family's own would be wrong.
    """

    model_type: str
    to_spec: Callable[[Mapping[str, Any], str], ModelSpec]
    from_spec: Callable[[ModelSpec], dict[str, Any] | None]
    rules: tuple[Rule, ...]
    prefix: str
    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    settle: Callable[[ModelSpec, Collection[str]], ModelSpec] = lambda spec, names: spec
    bare: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def their_name(self, ours: str) -> str:
        """The family's name of a parameter that is a tensor of its own, and of no layer."""
        return next(rule.theirs for rule in self.rules if rule.ours == (ours,))

    def from_file(
        self, theirs: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], where: str
    ) -> dict[str, Tensor]:
        """Our parameters by name, given a file's tensors and the ``shapes`` that the model expects.

        Raises ``ModelFileError`` that lists missing and unknown names, or the first tensor of a wrong shape.
        """
        rules = self._expand(shapes)
        named = self._with_prefix(theirs, {rule.theirs for rule in rules})
        ours: dict[str, Tensor] = {}
        used: set[str] = set()
        missing: list[str] = []
        for rule in rules:
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
            stacked = stacked.T if rule.transpose else stacked
            file[rule.theirs] = (stacked[None] if rule.row else stacked).contiguous()
        if self.bare and all(name.startswith(self.prefix) for name in file):
            return {name.removeprefix(self.prefix): tensor for name, tensor in file.items()}
        return file

    def _with_prefix(self, theirs: Mapping[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
        """Without what is to be ignored; the prefix is added where the family would have it and no name has."""

        def ignored(name: str) -> bool:
            return any(re.fullmatch(pattern, name) for pattern in self.ignored)

        bare = not any(name.startswith(self.prefix) for name in theirs)
        found: dict[str, Tensor] = {}
        for name, tensor in theirs.items():
            for old, new in self.renamed:
                name = re.sub(old, new, name)
            full = self.prefix + name
            name = full if bare and (full in known or ignored(full)) else name
            if not ignored(name):
                found[name] = tensor
        return found

    def _expand(self, shapes: Mapping[str, torch.Size]) -> list[Rule]:
        """The rules, one for each layer, of parameters that the model has."""
        layers = 1 + max((int(m[1]) for name in shapes if (m := re.search(r"\.blocks\.(\d+)\.", name))), default=-1)
        rules = []
        for rule in self.rules:
            for i in range(layers) if "{i}" in rule.theirs else range(1):
                at = rule.of_layer(i)
                fits = (at.beside is None or at.beside in shapes) and at.without not in shapes
                if fits and all(name in shapes for name in at.ours):
                    rules.append(at)
        return rules


def _read(rule: Rule, tensor: Tensor, shapes: Mapping[str, torch.Size], where: str) -> dict[str, Tensor]:
    expected = [shapes[name] for name in rule.ours]
    whole = torch.Size([sum(s[0] for s in expected), *expected[0][1:]])
    shape = torch.Size(reversed(whole)) if rule.transpose else whole
    shape = torch.Size([1, *shape]) if rule.row else shape
    if tensor.shape != shape:
        raise ModelFileError(
            f"the tensor '{rule.theirs}' has shape {tuple(tensor.shape)}; config.json asks for {tuple(shape)}",
            where=where,
        )
    tensor = tensor[0] if rule.row else tensor
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

    def optional_whole(self, key: str) -> int | None:
        """A whole number, or None where it is missing or null."""
        return None if self._config.get(key) is None else self.whole(key)

    def words(self, key: str) -> list[str]:
        """A list of words; empty where it is missing or null."""
        value = self._config.get(key) or []
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.refuse(key, f"must be a list of words, not {value!r}")
        return value

    def wholes(self, key: str) -> list[int]:
        """A list of whole numbers; empty where it is missing or null."""
        value = self._config.get(key) or []
        if not isinstance(value, list) or not all(isinstance(number, int) for number in value):
            raise self.refuse(key, f"must be a list of whole numbers, not {value!r}")
        return value

    def table(self, key: str) -> Mapping[str, Any]:
        """A table; empty where it is missing or null."""
        value = self._config.get(key) or {}
        if not isinstance(value, Mapping):
            raise self.refuse(key, f"must be a table, not {value!r}")
        return value

    def refuse(self, key: str, why: str) -> ModelFileError:
        """The error for ``key``, to be raised."""
        return ModelFileError(f"'{key}' {why}", where=self.where)
