"""Hostile bodies: each a 400 that names the field, on every route that reads one, and the server goes on."""

from __future__ import annotations

import pytest

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "weather"}}
DEEP: dict = {}
for _ in range(400):
    DEEP = {"items": DEEP}
JSON = {"content-type": "application/json"}
ROUTES = ["/v1/chat/completions", "/v1/completions", "/v1/feedback", "/v1/jobs", "/v1/releases/rollback"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "byte 0"),
        (b"{", "byte"),
        (b'{"model": "x",}', "byte 13"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b'{"a": "\xff"}', "byte"),
        (b"[]", "JSON object"),
        (b'"x"', "JSON object"),
        (b'{"a": NaN}', "byte"),
        (b"[" * 100000, "byte"),
        (b'{"a": "\\ud800"}', ""),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(api, path: str, body: bytes, says: str) -> None:
    answer = api.http().post(path, content=body, headers=JSON)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 16384}, "n"),
        ({"n": 9}, "n"),
        ({"n": 0}, "n"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": 32769}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"seed": 2**64}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": "a" * 65}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"whale": 5}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias[1]"),
        ({"logit_bias": {"1": "5"}}, "logit_bias[1]"),
        ({"logit_bias": {"-1": 5}}, "logit_bias"),
        ({"logit_bias": {"9" * 30: 5}}, "logit_bias"),
        ({"logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 1.1}, "min_p"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"min_tokens": 0}, "min_tokens"),
        ({"ignore_eos": "yes"}, "ignore_eos"),
        ({"priority": 101}, "priority"),
        ({"cache_salt": ""}, "cache_salt"),
        ({"cache_salt": "a" * 257}, "cache_salt"),
        ({"cache_salt": 5}, "cache_salt"),
        ({"timeout": 0}, "timeout"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
         "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"guided_regex": "a" * 65537}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a", 1]}, "guided_choice[1]"),
        ({"guided_grammar": 3}, "guided_grammar"),
        ({"model": "../x"}, "model"),
        ({"model": "a" * 300}, "model"),
        ({"model": "сhampion"}, "model"),  # a Cyrillic letter
        ({"grounding": "everything"}, "grounding"),
        ({"conversation": "mine"}, "conversation"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [USER] * 257}, "messages"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
         "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].function"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "web", "function": {"name": "a"}}]}, "tools[0].type"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "required", "guided_regex": "a"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "deep", "parameters": DEEP}}]}, "tools"),
        ({"guided_json": DEEP}, "guided_json"),
        ({"functions": [{"name": "a"}]}, "functions"),
    ],
)  # fmt: skip
def test_a_chat_field_that_is_wrong_is_named(api, fields, param: str) -> None:
    before = len(api.service.requests)
    answer = api.http().post("/v1/chat/completions", json={"messages": [USER]} | fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert len(api.service.requests) == before  # the shared batch never sees it


@pytest.mark.parametrize("value", ["1e999", "-1e999"])
def test_infinite_numbers(api, value: str) -> None:
    body = '{"messages":[{"role":"user","content":"x"}],"temperature":' + value + "}"
    assert api.http().post("/v1/chat/completions", content=body, headers=JSON).status_code == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": [1, -1]}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": ["a"] * 9}, "n"),
        ({"prompt": ["a"] * 3, "n": 3}, "n"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": "a", "best_of": 9}, "n"),
        ({"prompt": "a", "n": 3, "best_of": 2}, "best_of"),
        ({"prompt": "a", "best_of": 3, "stream": True}, "best_of"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": [1, 2], "echo": True}, "echo"),
        ({"prompt": "a", "grounding": "weights + documents"}, "grounding"),
        ({}, "prompt"),
    ],
)
def test_a_completion_field_that_is_wrong_is_named(api, fields, param: str) -> None:
    answer = api.http().post("/v1/completions", json=fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_path_that_is_no_route(api) -> None:
    answer = api.http().get("/v1/models/..%2f..%2fetc%2fpasswd")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert api.http().put("/v1/models", json={}).status_code == 405
