"""The stack file: TOML into typed, frozen parameters, with every mistake named at once.

A component's parameters are the keyword-only arguments of its function (or the fields of its dataclass); the TOML
section is their nesting. Unknown keys are errors that suggest the right one. ``--set a.b=c`` overrides.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lamina.kit.errors import ConfigError

T = TypeVar("T")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, or an error that names the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(
            "there is no such file",
            where=str(path),
            hint="`lamina up FOLDER` writes one for your documents",
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot be read as TOML: {error}", where=str(path)) from error


def override(table: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """``table`` with each ``a.b.0.c=value`` applied; a value is TOML, or else plain text.

    >>> override({"model": {"train": {}}}, ["model.train.steps=200"])
    {'model': {'train': {'steps': 200}}}
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"'{assignment}' is not of the form key.key=value", where="--set")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        _assign(table, path.strip().split("."), value, assignment)
    return table


def _assign(table: dict[str, Any], keys: Sequence[str], value: Any, assignment: str) -> None:
    place: Any = table
    for key in keys[:-1]:
        if isinstance(place, list):
            place = _item(place, key, assignment)
        else:
            place = place.setdefault(key, {})
        if not isinstance(place, dict | list):
            raise ConfigError(f"'{key}' is a value, not a section", where=f"--set {assignment}")
    if isinstance(place, list):
        _item(place, keys[-1], assignment)
        place[int(keys[-1])] = value
    else:
        place[keys[-1]] = value


def _item(place: list[Any], key: str, assignment: str) -> Any:
    if not key.isdigit() or int(key) >= len(place):
        raise ConfigError(f"'{key}' is no item of a list of {len(place)}", where=f"--set {assignment}")
    return place[int(key)]


def seconds(text: str | float, *, where: str = "") -> float:
    """A duration in seconds.

    >>> seconds("2m"), seconds("1.5h"), seconds(90)
    (120.0, 5400.0, 90.0)
    """
    if isinstance(text, int | float):
        return float(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    if not match or match[2] not in _UNITS:
        raise ConfigError(f"'{text}' is no duration", where=where or None, hint="write for example 90s, 2m or 1.5h")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class _Field:
    type: Any
    default: Any  # MISSING where the key is required


def build(cls: type[T], table: Mapping[str, Any], *, where: str) -> T:
    """An instance of the dataclass ``cls`` from ``table``; one ``ConfigError`` lists every mistake in it."""
    mistakes: list[str] = []
    value: T = _build(cls, table, where, mistakes)
    _refuse(mistakes, where)
    return value


def bind(function: Any, table: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The keyword-only arguments of ``function`` taken from ``table``, checked and converted; defaults filled in."""
    signature = inspect.signature(function, eval_str=True)
    fields = {
        name: _Field(p.annotation, MISSING if p.default is inspect.Parameter.empty else p.default)
        for name, p in signature.parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    mistakes: list[str] = []
    values = _values(fields, table, where, mistakes)
    _refuse(mistakes, where)
    return values


def resolved(value: Any) -> Any:
    """A configuration as plain JSON values (dataclasses to tables, tuples to lists; absent keys left out)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: resolved(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {k: v for k, v in fields.items() if v is not None}
    if isinstance(value, Mapping):
        return {k: resolved(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [resolved(v) for v in value]
    return value


def _refuse(mistakes: list[str], where: str) -> None:
    if len(mistakes) == 1:
        raise ConfigError(mistakes[0])
    if mistakes:
        raise ConfigError(f"{len(mistakes)} mistakes:\n  " + "\n  ".join(mistakes), where=where)


def _build(cls: Any, table: Any, where: str, mistakes: list[str]) -> Any:
    if not isinstance(table, Mapping):
        mistakes.append(f"{where}: is a section, not the value {table!r}")
        return None
    hints = get_type_hints(cls)
    fields = {
        f.name: _Field(hints[f.name], f.default if f.default_factory is MISSING else f.default_factory())
        for f in dataclasses.fields(cls)
    }
    before = len(mistakes)
    values = _values(fields, table, where, mistakes)
    if len(mistakes) > before:
        return None
    try:
        return cls(**values)
    except ConfigError as error:
        mistakes.append(f"{where}: {error}")
        return None


def _values(fields: Mapping[str, _Field], table: Mapping[str, Any], where: str, mistakes: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in table:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            advice = f"did you mean '{close[0]}'? " if close else ""
            mistakes.append(f"{where}: no such key '{key}' ({advice}known: {', '.join(sorted(fields))})")
    for key, field in fields.items():
        if key in table:
            values[key] = _convert(field.type, table[key], f"{where}.{key}", mistakes)
        elif field.default is MISSING:
            mistakes.append(f"{where}: the key '{key}' is missing")
        else:
            values[key] = field.default
    return values


def _convert(kind: Any, value: Any, where: str, mistakes: list[str]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where, mistakes)
    if origin is Literal:
        if value in arguments:
            return value
        mistakes.append(f"{where}: {value!r} is not one of {', '.join(map(repr, arguments))}")
        return None
    if origin in (tuple, list):
        return _convert_list(arguments, value, where, mistakes)
    if origin in (dict, Mapping):
        if isinstance(value, Mapping):
            return {k: _convert(arguments[1], v, f"{where}.{k}", mistakes) for k, v in value.items()}
    elif dataclasses.is_dataclass(kind):
        return _build(kind, value, where, mistakes)
    elif _fits(kind, value):
        return float(value) if kind is float else value
    mistakes.append(f"{where}: {value!r} is not {_words(kind)}")
    return None


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str, mistakes: list[str]) -> Any:
    tried: list[str] = []
    for argument in arguments:
        if argument is type(None):
            continue
        attempt: list[str] = []
        result = _convert(argument, value, where, attempt)
        if not attempt:
            return result
        tried.extend(attempt)
    mistakes.append(tried[0] if tried else f"{where}: {value!r} is of the wrong kind")
    return None


def _convert_list(arguments: tuple[Any, ...], value: Any, where: str, mistakes: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        mistakes.append(f"{where}: {value!r} is not a list")
        return None
    return tuple(_convert(arguments[0], item, f"{where}.{i}", mistakes) for i, item in enumerate(value))


def _fits(kind: Any, value: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(kind, type) and isinstance(value, kind)


def _words(kind: Any) -> str:
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    return names.get(kind, f"a {getattr(kind, '__name__', kind)}")
