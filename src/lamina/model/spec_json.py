"""Specifications from plain values, with errors that name the place."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from lamina.kit.errors import ConfigError

T = TypeVar("T")


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """The dataclass ``kind`` with ``values``; an unknown, missing or misshapen one is a ``ConfigError``."""
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # always a dataclass
    unknown = sorted(set(values) - set(fields))
    no_default = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    missing = sorted(no_default - set(values))
    if unknown or missing:
        words = [f"unknown keys: {', '.join(unknown)}"] * bool(unknown)
        words += [f"missing: {', '.join(missing)}"] * bool(missing)
        raise ConfigError("; ".join(words), where=where, hint="known: " + ", ".join(fields))
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"expected a table, found {type(value).__name__}", where=where)
        return build(hint, value, where)
    if typing.get_origin(hint) is tuple:
        return tuple(_value(typing.get_args(hint)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"expected {hint.__name__}, found {value!r}", where=where)
    return value
