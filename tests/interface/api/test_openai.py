"""The official client against a running server."""

from __future__ import annotations

import json

import openai
import pytest

from lamina.interface.api.ports import ApiSettings
from lamina.interface.grounding.context import NOTHING_FOUND
from lamina.kit.errors import BusyError, LaminaError, QueueFullError, StorageError
from lamina.testing import EchoService, MemoryStore

HELLO = [{"role": "user", "content": "call me Ishmael please"}]
GROUNDED = ApiSettings(name="pequod", grounding="weights + documents")


def test_a_chat_is_answered_and_kept(api) -> None:
    answer = api.openai().chat.completions.create(model="champion", messages=HELLO)
    assert answer.choices[0].message.content == "call me Ishmael please"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.model, answer.object) == ("v1", "chat.completion")
    assert answer.system_fingerprint.endswith("v1")
    assert answer.usage.prompt_tokens == 4
    assert answer.usage.total_tokens == 8
    kept = api.store.interaction(answer.id)
    assert kept.answer == "call me Ishmael please"
    assert kept.messages[0].content == "call me Ishmael please"
    assert kept.mean_logprob is not None


def test_a_stream_has_openais_shape(api) -> None:
    chunks = list(api.openai().chat.completions.create(model="pequod", messages=HELLO, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "call me Ishmael please"
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].choices[0].delta.content is None
    assert len({(c.id, c.model, c.created) for c in chunks}) == 1
    assert all(c.usage is None for c in chunks)
    assert chunks[0].sources == []
    assert chunks[0].grounding == {"mode": "weights only", "found": False, "recited": False}
    assert not hasattr(chunks[1], "sources")


def test_a_stream_ends_with_done_and_is_not_buffered(api) -> None:
    body = {"messages": HELLO, "stream": True}
    with api.http().stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        assert "no-cache" in response.headers["cache-control"]
        text = response.read().decode()
    assert text.endswith("data: [DONE]\n\n")


def test_usage_comes_in_a_stream_only_when_asked_for(api) -> None:
    chunks = list(
        api.openai().chat.completions.create(
            model="", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4
    assert all(c.usage is None for c in chunks[:-1])


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices(api, stream: bool) -> None:
    answer = api.openai().chat.completions.create(model="", messages=HELLO, n=3, seed=7, stream=stream)
    if stream:
        texts = ["", "", ""]
        for chunk in answer:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
            id = chunk.id
    else:
        texts, id = [c.message.content for c in answer.choices], answer.id
        assert answer.usage.prompt_tokens == 4  # the prompt counts once
        assert answer.usage.completion_tokens == 12
    assert texts == ["call me Ishmael please"] * 3
    assert api.store.interaction(f"{id}.2") is not None
    assert [r.sampling.seed for r in api.service.requests[-3:]] == [7, 8, 9]
    assert sorted(r.patient for r in api.service.requests[-3:]) == [False, True, True], "they wait for the first one"


def test_logprobs(api) -> None:
    answer = api.openai().chat.completions.create(model="", messages=HELLO, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert [t.token for t in content] == ["call", " me", " Ishmael", " please"]
    assert content[0].bytes == list(b"call")
    assert len(content[0].top_logprobs) == 2


def test_completions(api) -> None:
    answer = api.openai().completions.create(model="v1", prompt=["one two", "three"], logprobs=1, max_tokens=1)
    assert [c.text for c in answer.choices] == ["one", "three"]
    assert [c.finish_reason for c in answer.choices] == ["length", "stop"]
    assert answer.choices[0].logprobs.tokens == ["one"]
    assert answer.choices[0].logprobs.text_offset == [0]
    pieces = list(api.openai().completions.create(model="v1", prompt=[5, 6, 7], stream=True))
    assert "".join(p.choices[0].text for p in pieces) == "5 6 7"
    assert api.service.requests[-1].prompt == (5, 6, 7)
    echoed = api.openai().completions.create(model="v1", prompt="one two", echo=True)
    assert echoed.choices[0].text == "one twoone two"


def test_models_are_listed(api) -> None:
    ids = [m.id for m in api.openai().models.list()]
    assert ids == ["v1", "champion", "pequod"]
    assert api.openai().models.retrieve("pequod").root == "v1"
    with pytest.raises(openai.NotFoundError):
        api.openai().models.retrieve("v9")


def test_sampling_reaches_the_service(api) -> None:
    api.openai().chat.completions.create(
        model="v2",
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]},
        ],
        temperature=0,
        top_p=0.5,
        stop="x",
        max_completion_tokens=5,
        extra_body={"top_k": 3},
    )
    request = api.service.requests[-1]
    assert request.model == "v2"
    assert [(m.role, m.content) for m in request.messages] == [("system", "be brief"), ("user", "a b")]
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens) == (0, 0.5, 3, 5)
    assert sampling.stop == ("x",)


def test_unknown_fields_are_ignored_and_named(api) -> None:
    raw = api.openai().chat.completions.with_raw_response.create(
        model="", messages=HELLO, user="me", store=True, extra_body={"chat_template": "{{ x }}", "b\nad": 1}
    )
    assert raw.headers["x-lamina-ignored"] == "b?ad, chat_template, store, user"


@pytest.mark.parametrize(
    ("body", "error", "param", "code"),
    [
        ({"model": "v9"}, openai.NotFoundError, "model", "model_not_found"),
        ({"messages": []}, openai.BadRequestError, "messages", "invalid_request"),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens", "invalid_request"),
        (
            {"messages": [{"role": "user", "content": "a " * 5000}]},
            openai.BadRequestError,
            None,
            "context_length_exceeded",
        ),
        ({"functions": [{"name": "f"}]}, openai.BadRequestError, "functions", "unsupported_parameter"),
    ],
)
def test_errors_map_to_the_clients_classes(api, body, error, param, code) -> None:
    with pytest.raises(error) as raised:
        api.openai().chat.completions.create(**{"model": "", "messages": HELLO} | body)
    assert raised.value.param == param
    assert raised.value.code == code


@pytest.mark.parametrize("stream", [False, True])
def test_a_busy_engine_is_a_503_that_may_be_tried_again(serve, stream: bool) -> None:
    api = serve(service=EchoService(fail_after=0, error=BusyError("the queue is full")))
    with pytest.raises(openai.InternalServerError) as raised:
        api.openai().chat.completions.create(model="", messages=HELLO, stream=stream)
    assert raised.value.status_code == 503
    assert raised.value.response.headers["retry-after"] == "1"
    assert raised.value.response.headers["x-should-retry"] == "true"


def test_a_full_queue_is_a_429_that_says_when(serve) -> None:
    full = QueueFullError("too much is waiting")
    full.retry_after = 2.4
    api = serve(service=EchoService(fail_after=0, error=full))
    with pytest.raises(openai.RateLimitError) as raised:
        api.openai().chat.completions.create(model="", messages=HELLO)
    headers = raised.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"], headers["x-should-retry"]) == ("3", "2400", "true")


def test_a_key_and_its_standing_reach_the_service(serve, ring) -> None:
    (_, plain), (_, admin) = ring.create("plain", ["infer"]), ring.create("admin", ["infer", "admin"])
    api = serve(keys=ring)
    fields = {"extra_body": {"timeout": 1.5, "priority": 3}}
    api.openai(plain).chat.completions.create(model="", messages=HELLO, **fields)
    request = api.service.requests[-1]
    assert (request.timeout, request.priority) == (1.5, 3)
    assert request.key
    with pytest.raises(openai.BadRequestError) as raised:
        api.openai(plain).chat.completions.create(model="", messages=HELLO, extra_body={"priority": -1})
    assert raised.value.param == "priority"
    api.openai(admin).chat.completions.create(model="", messages=HELLO, extra_body={"priority": -1})
    assert api.service.requests[-1].key != request.key


def test_a_salt_reaches_the_service_and_keys_may_be_kept_apart(serve, ring) -> None:
    tokens = [ring.create(name, ["infer"])[1] for name in ("one", "other")]

    def salts(api) -> list[str]:
        found = []
        for token in tokens:
            for more in ({}, {"cache_salt": "team"}):
                client = api.openai(token)
                client.chat.completions.create(model="", messages=HELLO, extra_body=more)
                client.completions.create(model="", prompt="hello", extra_body=more)
                chat, text = (request.cache_salt for request in api.service.requests[-2:])
                assert chat == text
                found.append(chat)
        return found

    assert salts(serve(keys=ring)) == ["", "team", "", "team"]
    apart = salts(serve(keys=ring, settings=ApiSettings(caches_apart=True)))
    assert len({*apart, "", "team"}) == 6, "another one for each key and salt"


def test_a_failure_in_mid_stream_is_an_error_event(serve) -> None:
    api = serve(service=EchoService(fail_after=2, error=LaminaError("secret path", where="/srv/secret")))
    pieces: list[str] = []

    def listen() -> None:
        for chunk in api.openai().chat.completions.create(model="", messages=HELLO, stream=True):
            pieces.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError) as raised:
        listen()
    assert "".join(pieces) == "call me"
    assert "secret" not in str(raised.value)
    assert api.store.interactions == {}


def test_an_unexpected_failure_says_nothing_of_the_inside(serve) -> None:
    api = serve(service=EchoService(fail_after=0, error=ValueError("/srv/secret")))
    response = api.http().post("/v1/chat/completions", json={"messages": HELLO})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["error"]["type"] == "server_error"
    assert "content-security-policy" in response.headers


@pytest.mark.parametrize("stream", [False, True])
def test_no_final_chunk_before_the_interaction_is_durable(serve, stream: bool) -> None:
    store = MemoryStore()
    store.failure = StorageError("no space left on device", where="/srv/lamina.db")
    api = serve(store=store)
    body = {"messages": HELLO, "stream": stream}
    if not stream:
        response = api.http().post("/v1/chat/completions", json=body)
        assert response.status_code == 507
        assert "srv" not in response.text
        assert response.headers["x-should-retry"] == "false"
    else:
        with api.http().stream("POST", "/v1/chat/completions", json=body) as response:
            events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
        assert all(not c.get("finish_reason") for e in events for c in e.get("choices", []))
        assert events[-1]["error"]["code"] == "storage_failed"
    assert api.http().get("/health/ready").status_code == 503
    store.failure = None
    api.openai().chat.completions.create(model="", messages=HELLO)
    assert api.http().get("/health").status_code == 200


def test_sources_are_numbered_and_put_before_the_model(serve) -> None:
    api = serve(settings=GROUNDED)
    question = [{"role": "user", "content": "Where does Tashtego the harpooneer come from?"}]
    chunks = list(api.openai().chat.completions.create(model="", messages=question, stream=True))
    assert chunks[0].grounding == {"mode": "weights + documents", "found": True, "recited": False}
    source = chunks[0].sources[0]
    assert (source["number"], source["kind"], source["document_id"]) == (1, "document", "doc-1")
    assert source["license"] == "CC0-1.0"
    seen = api.service.requests[-1].messages
    assert seen[0].role == "system"
    assert "Gay Head" in seen[0].content
    kept = api.store.interaction(chunks[0].id)
    assert kept.sources == ("doc-1",)
    assert [m.role for m in kept.messages] == ["user"]  # as the client sent them
    assert api.http().get("/v1/documents/doc-1").json()["text"].startswith("The harpooneer")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_sources_says_so(serve, stream: bool) -> None:
    api = serve(settings=GROUNDED)
    question = [{"role": "user", "content": "What does quantum chromodynamics predict?"}]
    answer = api.openai().chat.completions.create(model="", messages=question, stream=stream)
    text = "".join(c.choices[0].delta.content or "" for c in answer) if stream else answer.choices[0].message.content
    assert text == f"{NOTHING_FOUND}\n\nWhat does quantum chromodynamics predict?"


def test_the_request_may_ask_for_the_weights_alone(serve) -> None:
    api = serve(settings=GROUNDED)
    question = [{"role": "user", "content": "Where does Tashtego come from?"}]
    answer = api.openai().chat.completions.create(model="", messages=question, extra_body={"grounding": "weights only"})
    assert answer.grounding == {"mode": "weights only", "found": False, "recited": False}
    assert api.retriever.queries == []


def test_a_conversation_keeps_its_name_and_side(api) -> None:
    uuid = "0b0e7d3e-3a4c-4d2c-9d8e-1f2a3b4c5d6e"
    ids = [
        api.openai().chat.completions.create(model="", messages=HELLO, extra_body={"conversation": uuid}).id
        for _ in range(2)
    ]
    kept = [api.store.interaction(id) for id in ids]
    assert {k.conversation for k in kept} == {uuid}
    assert len({k.split for k in kept}) == 1


def test_a_system_message_of_the_stack_stands_where_the_client_brings_none(serve) -> None:
    api = serve(settings=ApiSettings(name="pequod", grounding="weights only", system="You are the mate."))
    api.openai().chat.completions.create(model="", messages=HELLO)
    assert api.service.requests[-1].messages[0].content == "You are the mate."
    own = [{"role": "system", "content": "You are the cook."}, *HELLO]
    api.openai().chat.completions.create(model="", messages=own)
    assert [m.content for m in api.service.requests[-1].messages if m.role == "system"] == ["You are the cook."]
