"""Turns as chat templates want them, with calls of tools and their results; and how a template writes calls.

Two forms are known: an object in each pair of tags, as Hermes and Qwen have it (``<tool_call>{…}</tool_call>``), and a
list in one pair, as SmolLM2 has it (``<tool_call>[{…}, {…}]</tool_call>``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

from lamina.contracts.chat import Message, ToolCall
from lamina.kit.template import ChatTemplate

ToolForm = Literal["objects", "list", "unknown"]
Rows = list[dict[str, Any]]


def tool_form(template: ChatTemplate) -> ToolForm | None:
    """How ``template`` has an assistant write calls; None where it has no place for tools."""
    if not template.takes_tools:
        return None
    if "<tool_call>[" in template.source:
        return "list"
    return "objects" if "<tool_call>" in template.source else "unknown"


def row_of(message: Message) -> dict[str, Any]:
    """A turn as Hugging Face's templates want it: arguments as values, not as text."""
    row: dict[str, Any] = {"role": str(message.role), "content": message.content}
    if message.tool_calls:
        row["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        row["tool_call_id"] = message.tool_call_id
    return row


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def leaves(value: Any) -> Iterator[str]:
    """Every text in a value as JSON has them, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(inner, change) for inner in value)
    return value
