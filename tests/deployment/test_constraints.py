"""Answers of a random model that must have a form, asked for by OpenAI's client."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

HELLO = [{"role": "user", "content": "the whale"}]
SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 99}, "kind": {"enum": ["whale", "ship"]}},
    "required": ["number", "kind"],
    "additionalProperties": False,
}


def chat(client: openai.OpenAI, **fields: object):
    given = {"model": "", "messages": HELLO, "max_tokens": 100, "temperature": 1, "seed": 1} | fields
    return client.chat.completions.create(**given)


def guided(client: openai.OpenAI, **extra: object) -> str:
    fields = {"temperature": extra.pop("temperature", 1), "seed": extra.pop("seed", 1)}
    return chat(client, extra_body=extra, **fields).choices[0].message.content


def as_schema(schema: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}


@pytest.mark.parametrize("temperature", [0, 2])
def test_a_schema_holds_for_every_choice_and_ends_the_answer(client, temperature) -> None:
    answer = chat(client, response_format=as_schema(SCHEMA), n=3, temperature=temperature)
    found = [json.loads(choice.message.content) for choice in answer.choices]
    for one in found:
        assert set(one) == {"number", "kind"}
        assert 0 <= one["number"] <= 99
        assert one["kind"] in ("whale", "ship")
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    if temperature:
        assert len({one["number"] for one in found}) > 1


def test_a_stream_has_the_form_too(client) -> None:
    whole = chat(client, response_format=as_schema(SCHEMA)).choices[0].message.content
    chunks = list(chat(client, response_format=as_schema(SCHEMA), stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_any_object(client) -> None:
    answer = chat(client, response_format={"type": "json_object"}, logit_bias={"92": 6, "95": 6}).choices[0]
    assert answer.message.content.lstrip().startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


def test_the_guided_fields(client) -> None:
    assert re.fullmatch(r"[ab]{3,5}-\d\d", guided(client, guided_regex=r"[ab]{3,5}-[0-9][0-9]"))
    seen = {guided(client, guided_choice=["yes", 'the "no"', "ä|b"], temperature=2, seed=n) for n in range(8)}
    assert seen <= {"yes", 'the "no"', "ä|b"}
    assert len(seen) > 1
    tree = guided(client, guided_grammar='start: pair\npair: "(" pair ")" | "x"')
    assert re.fullmatch(r"\(*x\)*", tree)
    assert tree.count("(") == tree.count(")")
    assert json.loads(guided(client, guided_json={"const": 7})) == 7
    completion = client.completions.create(model="", prompt="a", max_tokens=9, extra_body={"guided_regex": "zzz"})
    assert (completion.choices[0].text, completion.choices[0].finish_reason) == ("zzz", "stop")


def test_characters_of_several_tokens(client) -> None:
    assert guided(client, guided_choice=["鯨🐋é"]) == "鯨🐋é"


HOSTILE = {
    "nested repeats": {"guided_regex": "((a{1,1000}){1,1000}){1,1000}"},
    "deep": {"guided_regex": "(" * 30000 + "a" + ")" * 30000},
    "all of": {"guided_json": {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{n}}}"} for n in range(9, 20)]}},
    "multiples": {"guided_json": {"type": "integer", "multipleOf": 100000007, "minimum": 0, "maximum": 10**15}},
    "ambiguous": {"guided_grammar": "start: a a a a a a\na: " + "|".join(["a a"] * 50) + '| "a"'},
    "left recursion": {"guided_grammar": 'start: start start | "a" | ""'},
    "nowhere": {"guided_json": {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 2}}}},
    "no grammar": {"guided_grammar": "start: ???"},
    "no schema": {"guided_json": {"type": "whale"}},
    "not a regex": {"guided_regex": "(a"},
    "too long": {"guided_json": {"enum": ["x" * 90 + str(n) for n in range(900)]}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_constraint_is_answered_soon_and_stalls_nobody(client, name) -> None:
    chat(client, extra_body={"guided_choice": ["a"]})  # the vocabulary is read
    with ThreadPoolExecutor(1) as pool:
        before, refusal = time.perf_counter(), None
        bystander = pool.submit(chat, client, max_tokens=40)
        try:
            answer = chat(client, max_tokens=8, extra_body=HOSTILE[name])
            assert answer.usage.completion_tokens <= 8
        except openai.APIStatusError as error:
            refusal = error
        took = time.perf_counter() - before
        assert refusal is None or (refusal.status_code in (400, 413, 503) and "server failed" not in str(refusal))
        assert bystander.result().usage.completion_tokens > 0
        assert time.perf_counter() - before < 5
    assert took < 2.0, "0.2 s on a quiet machine"


def test_what_takes_too_long_to_read_is_ended_and_others_are_read_meanwhile(client) -> None:
    """llguidance takes many seconds for it and cannot be interrupted: the child that reads it can."""
    schema = {"type": "integer", "multipleOf": 100000037, "minimum": 0, "maximum": 10**15}
    with pytest.raises(openai.InternalServerError, match="takes long to read"):
        chat(client, extra_body={"guided_json": schema})
    deadline, said, read = time.monotonic() + 20, "", 0
    while "took longer than 1 s" not in said and time.monotonic() < deadline:
        try:
            read += guided(client, guided_regex=f"a{{{read + 1}}}b") == "a" * (read + 1) + "b"
            chat(client, extra_body={"guided_json": schema})
        except openai.APIStatusError as error:
            said = str(error)
    assert "took longer than 1 s" in said
    assert read
    assert guided(client, guided_regex="[xy]z")[1] == "z"
