"""Calls of tools that must be made: the grammar of nothing but calls, in the form that the model's template has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lamina.contracts.chat import Tool
from lamina.contracts.inference import Constraint, Request
from lamina.kit.errors import InputError
from lamina.kit.tool_rows import ToolForm

_MOST_CALLS = 16  # in one answer
#: As the templates write JSON, so that a model meets what it was trained on.
_SPACES = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}


def check_tools(request: Request, form: ToolForm | None) -> None:
    """Raise ``InputError`` where the model's template cannot offer the request's tools."""
    if not request.tools:
        return
    if form is None:
        raise InputError("this model's chat template has no place for tools", where="tools")
    if form == "unknown":
        raise InputError("the way in which this model's chat template has tools called is not known", where="tools")


def required_calls(request: Request, form: ToolForm | None) -> Constraint | None:
    """What an answer must be where calls are required; None where the model may choose."""
    if not request.tools or request.tool_choice != "required":
        return None
    many, schema = request.parallel_tool_calls, _schema(request.tools)
    if form == "list":
        most, definitions = _MOST_CALLS if many else 1, schema.pop("$defs")
        items = {"type": "array", "minItems": 1, "maxItems": most, "items": {"$ref": "#/$defs/call"}}
        text = json.dumps({**_SPACES, "$defs": {**definitions, "call": schema}, **items})
        grammar = f'start: "<tool_call>" calls "</tool_call>"\ncalls: %json {text}'
    else:
        further = f' ("\\n" call){{0,{_MOST_CALLS - 1}}}' if many else ""
        text = json.dumps({**_SPACES, **schema})
        grammar = f'start: call{further}\ncall: "<tool_call>\\n" body "\\n</tool_call>"\nbody: %json {text}'
    return Constraint("grammar", grammar, "tools")


def _schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """A call of any of ``tools``. Their definitions (``$defs``) move to the top, each tool's under names of its own."""
    shared: dict[str, Any] = {}
    kinds = []
    for number, tool in enumerate(tools):
        given = json.loads(tool.definition)["function"].get("parameters") or {"type": "object"}
        inner = {key: value for key, value in given.items() if key not in ("$defs", "definitions", "$schema", "$id")}
        for place in ("$defs", "definitions"):
            for name, value in given.get(place, {}).items():
                shared[f"t{number}_{place[0]}{name}"] = _moved(value, number)
        kinds.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": _moved(inner, number)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": kinds, "$defs": shared}


def _moved(value: Any, number: int) -> Any:
    if isinstance(value, list):
        return [_moved(inner, number) for inner in value]
    if not isinstance(value, Mapping):
        return value
    return {key: _pointer(inner, number) if key == "$ref" else _moved(inner, number) for key, inner in value.items()}


def _pointer(reference: Any, number: int) -> Any:
    for place in ("$defs", "definitions"):
        head = f"#/{place}/"
        if isinstance(reference, str) and reference.startswith(head):
            return f"#/$defs/t{number}_{place[0]}{reference.removeprefix(head)}"
    return reference
