"""Calls of tools in what a model writes, however its text is cut; and what OpenAI's client sees of them."""

from __future__ import annotations

import json
from itertools import pairwise

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.interface.api.ports import ApiSettings
from lamina.interface.api.tool_calls import ToolCalls
from lamina.testing import EchoService

ARGUMENTS = {"city": 'Nan{tucket</tool_call>"', "days": [1, {"a": "}"}], "note": "]\\"}
WRITTEN = json.dumps(ARGUMENTS)
ONE = '<tool_call>\n{"name": "weather", "arguments": ' + WRITTEN + "}\n</tool_call>"
TWO = ONE + '\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
LIST = '<tool_call>[{"name": "weather", "arguments": ' + WRITTEN + '}, {"name": "now", "arguments": {}}]</tool_call>'
REVERSED = '<tool_call>{"arguments": {"a": 1}, "name": "now"}</tool_call>'


def parse(pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """(text, (name, arguments) of each call), as a client adds the pieces up."""
    parser, text, calls = ToolCalls(), "", {}
    for piece in pieces:
        found = parser.push(piece)
        text += found.text
        for call in found.calls:
            calls[call.index] = [call.name, ""]
        for call, more in found.arguments:
            calls[call.index][1] += more
    text += parser.finish().text
    assert [(c.name, c.arguments) for c in parser.calls] == [tuple(c) for c in calls.values()]
    return text, [(name, arguments) for name, arguments in calls.values()]


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(p % (len(text) + 1) for p in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


@settings(max_examples=100, deadline=None)
@given(
    places=st.lists(st.integers(0, 500), max_size=30), whole=st.sampled_from([ONE, TWO, LIST, "Let me see. \n" + TWO])
)
def test_calls_however_the_text_is_cut(places, whole) -> None:
    text, calls = parse(cut(whole, places))
    assert text == ("Let me see." if whole.startswith("Let") else "")
    assert calls[0][0] == "weather"
    assert json.loads(calls[0][1]) == ARGUMENTS
    assert calls[1:] == ([] if whole == ONE else [("now", "{}")])


@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(0, 200), max_size=12))
@pytest.mark.parametrize(
    "text",
    ["a <tool_ call> b <", "plain <b>text</b>\n\nwith lines ", "<tool_call>no object</tool_call>",
     "<tool_call>{not json}", '<tool_call>{"city": 1}</tool_call>', "<tool_call>", "<tool_call>{\"na"],
)  # fmt: skip
def test_what_is_no_call_stays_text(text, places) -> None:
    shown, calls = parse(cut(text, places))
    assert calls == []
    assert shown.strip() == text.strip()


def test_a_name_that_comes_last() -> None:
    text, calls = parse(list(REVERSED))
    assert (text, calls) == ("", [("now", '{"a": 1}')])


def test_arguments_are_handed_on_as_they_come() -> None:
    parser = ToolCalls()
    seen = [parser.push(character) for character in ONE]
    assert sum(len(p.arguments) for p in seen) == len(WRITTEN)
    cut_short = parse(['<tool_call>{"name": "weather", "arguments": {"city": "Nan'])
    assert cut_short == ("", [("weather", '{"city": "Nan')]), "as far as it came"


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "now")
]
ASK = [{"role": "user", "content": "What is the weather?"}]


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_sees_calls(serve, stream) -> None:
    api = serve(service=EchoService(answer=lambda _: "One moment. " + TWO))
    answer = api.openai().chat.completions.create(model="", messages=ASK, tools=TOOLS, stream=stream)
    if stream:
        chunks = list(answer)
        content = "".join(c.choices[0].delta.content or "" for c in chunks)
        calls: dict[int, dict] = {}
        for call in (call for c in chunks for call in c.choices[0].delta.tool_calls or []):
            one = calls.setdefault(call.index, {"id": call.id, "name": call.function.name, "arguments": ""})
            one["arguments"] += call.function.arguments or ""
        found = list(calls.values())
        reason, id = chunks[-1].choices[0].finish_reason, chunks[0].id
    else:
        message = answer.choices[0].message
        content = message.content
        found = [{"id": c.id, "name": c.function.name, "arguments": c.function.arguments} for c in message.tool_calls]
        reason, id = answer.choices[0].finish_reason, answer.id
    assert content == "One moment."
    assert [c["name"] for c in found] == ["weather", "now"]
    assert json.loads(found[0]["arguments"]) == ARGUMENTS
    assert len({c["id"] for c in found}) == 2
    assert reason == "tool_calls"
    kept = api.store.interaction(id)
    assert (kept.answer, kept.finish_reason) == ("One moment. " + TWO, "tool_calls")
    assert json.loads(kept.parameters)["tools"] == ["weather", "now"]


def test_without_tools_tags_are_text(serve) -> None:
    api = serve(service=EchoService(answer=lambda _: ONE))
    for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        choice = api.openai().chat.completions.create(model="", messages=ASK, **fields).choices[0]
        assert choice.message.content == ONE
        assert not choice.message.tool_calls
        assert choice.finish_reason == "stop"


def test_calls_and_results_reach_the_service(serve) -> None:
    api = serve(settings=ApiSettings(name="pequod", grounding="weights + documents"))
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "a"}'}}
    messages = [*ASK, {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]  # fmt: skip
    chosen = {"type": "function", "function": {"name": "now"}}
    answer = api.openai().chat.completions.create(model="", messages=messages, tools=TOOLS, tool_choice=chosen)
    request = api.service.requests[-1]
    assert [m.role for m in request.messages] == ["user", "assistant", "tool"], "no documents beside tools"
    assert request.messages[1].tool_calls[0].arguments == '{"city": "a"}'
    assert request.messages[2].tool_call_id == "call_1"
    assert [tool.name for tool in request.tools] == ["now"]
    assert (request.tool_choice, request.parallel_tool_calls) == ("required", False)
    assert api.store.interaction(answer.id) is not None
    with pytest.raises(openai.BadRequestError):
        api.openai().chat.completions.create(model="", messages=ASK, tool_choice="required")
