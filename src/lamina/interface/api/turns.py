"""Turns of a conversation on the wire, and the tools that an assistant may ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lamina.contracts.chat import Message, Tool, ToolCall
from lamina.interface.api.errors import ParameterError
from lamina.interface.api.fields import Fields, Text
from lamina.interface.api.forms import Forms, written


def _content(value: Any) -> Any:
    """A string, or a list of text parts, which are joined."""
    if not isinstance(value, list):
        return value
    texts = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"only text parts are supported, not {str(kind)[:40]!r}")
        texts.append(part["text"])
    return "".join(texts)


class CalledFunction(Fields):
    """What a call asks for."""

    name: Annotated[Text, Field(min_length=1, max_length=64)]
    arguments: Text


class CalledTool(Fields):
    """A call that an assistant made in a turn before."""

    id: Annotated[Text, Field(min_length=1, max_length=128)]
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Fields):
    """One turn; ``developer`` is read as ``system``."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[Text | None, BeforeValidator(_content)] = None
    tool_calls: Annotated[list[CalledTool] | None, Field(max_length=128)] = None
    tool_call_id: Annotated[Text, Field(min_length=1, max_length=128)] | None = None

    def contract(self, place: int) -> Message:
        """As the rest of the house has it. Raises ``ParameterError`` for turn number ``place``."""
        if self.content is None and not self.tool_calls:
            raise ParameterError("needs a content", param=f"messages[{place}].content")
        if self.role == "tool" and self.tool_call_id is None:
            raise ParameterError("names the call that it answers", param=f"messages[{place}].tool_call_id")
        calls = self.tool_calls if self.role == "assistant" and self.tool_calls else []
        return Message(
            role="system" if self.role == "developer" else self.role,
            content=self.content or "",
            tool_calls=tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in calls),
            tool_call_id=self.tool_call_id if self.role == "tool" else None,
        )


class Function(Fields):
    """A function that the model may ask for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(Fields):
    """A tool; only functions are known."""

    type: Literal["function"]
    function: Function


class Named(Fields):
    """A function by its name."""

    name: Text


class NamedTool(Fields):
    """``tool_choice`` that names one."""

    type: Literal["function"]
    function: Named


class Offer(Forms):
    """The fields of a chat that are about tools."""

    tools: Annotated[list[FunctionTool] | None, Field(max_length=128)] = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    def offered(self) -> tuple[Tool, ...]:
        """The tools that the model may, or must, call: the named one alone. Raises ``ParameterError``."""
        names = [tool.function.name for tool in self.tools or ()]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise ParameterError(f"tools: two are called '{double}'", param="tools")
        choice = self.tool_choice
        if choice not in (None, "none", "auto") and not names:
            raise ParameterError("tool_choice: only with tools", param="tool_choice")
        wanted = {choice.function.name} if isinstance(choice, NamedTool) else set(names)
        if not wanted <= set(names):
            raise ParameterError("tool_choice: names no tool of this request", param="tool_choice")
        given = [tool for tool in self.tools or () if tool.function.name in wanted and choice != "none"]
        return tuple(Tool(t.function.name, written(t.model_dump(exclude_unset=True), "tools")) for t in given)

    def several_calls(self) -> bool:
        """Whether an answer that must call may do so more than once."""
        return self.parallel_tool_calls is not False and not isinstance(self.tool_choice, NamedTool)

    def must_call(self) -> bool:
        """Whether nothing but calls is wanted."""
        required = self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)
        if required and self.constraint() is not None:
            raise ParameterError("tool_choice: not beside a form of the answer", param="tool_choice")
        return required
