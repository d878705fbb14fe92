"""Feedback over the wire: durable, owned, superseded, taken back, and taken up at once."""

from __future__ import annotations

import pytest

from lamina.interface.api.ports import ApiSettings
from lamina.interface.grounding.retriever import StackRetriever
from lamina.kit.errors import StorageError

GROUNDED = ApiSettings(name="pequod", grounding="weights + documents")
ASK = {"messages": [{"role": "user", "content": "Who carved the coffin lid?"}]}


def ask(client) -> str:
    return client.post("/v1/chat/completions", json=ASK).json()["id"]


def test_a_thumb_is_stored_with_its_reasons(serve, store) -> None:
    api = serve(store=store)
    with api.http() as client:
        id = ask(client)
        answer = client.post(
            "/v1/feedback",
            json={"target": id, "kind": "boolean", "value": False, "reasons": ["wrong", "wrong"], "comment": "no!"},
        )
        assert answer.status_code == 201
        reply = answer.json()
        assert set(reply) == {"id", "target", "kind", "split", "in_effect"}
        assert (reply["target"], reply["kind"], reply["in_effect"]) == (id, "boolean", True)
        kept = store.feedback(reply["id"])
        assert (kept.value, kept.reasons, kept.comment) == ("false", ("wrong",), "no!")
        again = client.post(
            "/v1/feedback",
            json={"target": id, "kind": "boolean", "value": False, "reasons": ["wrong"], "comment": "no!"},
        )
        assert again.json() == reply  # a double click is one row
        changed = client.post("/v1/feedback", json={"target": id, "kind": "boolean", "value": True}).json()
        assert store.feedback(changed["id"]).supersedes_id == reply["id"]
        summary = client.get("/v1/feedback/summary").json()
        assert (summary["interactions"], summary["thumbs_up"], summary["thumbs_down"]) == (1, 1, 0)
        back = client.post("/v1/feedback", json={"target": id, "kind": "boolean", "value": None}).json()
        assert back["in_effect"] is False
        assert client.get("/v1/feedback/summary").json()["thumbs_up"] == 0


def test_a_correction_answers_the_next_similar_question(serve, store) -> None:
    api = serve(store=store, retriever=StackRetriever(None, store), settings=GROUNDED)
    with api.http() as client:
        first = client.post("/v1/chat/completions", json=ASK).json()
        assert first["sources"] == []
        given = client.post(
            "/v1/feedback", json={"target": first["id"], "kind": "correction", "value": "Queequeg carved it."}
        ).json()
        assert given["in_effect"] is True
        similar = {"messages": [{"role": "user", "content": "Can you tell me who carved that wet coffin's lid?"}]}
        answer = client.post("/v1/chat/completions", json=similar).json()
        assert answer["grounding"]["recited"] is False
        assert answer["sources"][0]["kind"] == "correction"
        assert answer["sources"][0]["passage"] == "Queequeg carved it."
        assert answer["grounding"]["found"] is True
        seen = [(m.role, m.content) for m in api.service.requests[-1].messages]
        assert seen[-3:-1] == [("user", "Who carved the coffin lid?"), ("assistant", "Queequeg carved it.")]
        source = client.get(f"/v1/documents/{given['id']}").json()
        assert (source["kind"], source["question"]) == ("correction", "Who carved the coffin lid?")
        client.post("/v1/feedback", json={"target": first["id"], "kind": "correction", "value": None})
        assert client.post("/v1/chat/completions", json=similar).json()["sources"] == []


def test_the_very_question_again_is_answered_word_for_word_without_the_model(serve, store) -> None:
    api = serve(store=store, retriever=StackRetriever(None, store), settings=GROUNDED)
    said = "Queequeg carved it,\n  with his own knife. "
    same = {"messages": [{"role": "user", "content": "Please, who carved the coffin lid?"}]}
    with api.http() as client:
        first = client.post("/v1/chat/completions", json=ASK).json()
        client.post("/v1/feedback", json={"target": first["id"], "kind": "correction", "value": said})
        asked = len(api.service.requests)
        answer = client.post("/v1/chat/completions", json=same).json()
        assert answer["choices"][0]["message"]["content"] == said
        assert (answer["grounding"]["recited"], answer["model"]) == (True, "v1")
        streamed = api.openai().chat.completions.create(model="champion", stream=True, **same)
        assert "".join(c.choices[0].delta.content or "" for c in streamed) == said
        assert len(api.service.requests) == asked, "the model is not asked"
        assert store.interaction(answer["id"]).answer == said
        for more in ({"n": 2}, {"max_tokens": 2}, {"stop": ["knife"]}, {"logprobs": True}):
            assert client.post("/v1/chat/completions", json=same | more).json()["grounding"]["recited"] is False


def test_nobody_judges_or_traces_a_strangers_answer(serve, store, ring) -> None:
    api = serve(store=store, keys=ring)
    mine = ring.create("me", ["infer", "feedback"])[1]
    other = ring.create("other", ["infer", "feedback"])[1]
    admin = ring.create("admin", ["infer", "admin"])[1]
    id = ask(api.http(mine))
    thumb = {"target": id, "kind": "boolean", "value": True}
    stolen = api.http(other).post("/v1/feedback", json=thumb)
    unknown = api.http(other).post("/v1/feedback", json=thumb | {"target": "chatcmpl-0"})
    assert stolen.status_code == unknown.status_code == 404
    assert stolen.json() == unknown.json()
    given = api.http(mine).post("/v1/feedback", json=thumb)
    assert given.status_code == 201
    for entry in (id, given.json()["id"]):
        assert api.http(mine).get(f"/v1/trace/{entry}").status_code == 200
        assert api.http(other).get(f"/v1/trace/{entry}").status_code == 404
        assert api.http(admin).get(f"/v1/trace/{entry}").status_code == 200
    assert store.interaction(id).user == ring.list()[0].id


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"user": "somebody else"}, 400),
        ({"user_id": "somebody else"}, 400),
        ({"kind": "rating", "value": 99}, 400),
        ({"kind": "rating", "value": True}, 400),
        ({"kind": "boolean", "value": 1}, 400),
        ({"kind": "boolean", "value": "true"}, 400),
        ({"kind": "correction", "value": "  "}, 400),
        ({"kind": "correction", "value": "x" * 40000}, 400),
        ({"kind": "implicit", "value": True}, 400),
        ({"reasons": ["ugly"]}, 400),
        ({"comment": "x" * 9000}, 400),
        ({"target": "nothing"}, 404),
        ({"target": ""}, 400),
        ({"supersedes": "fb-0"}, 404),
        ({"value": None}, 400),  # nothing to take back
    ],
)
def test_feedback_that_is_wrong_changes_nothing(serve, store, fields, status: int) -> None:
    api = serve(store=store)
    with api.http() as client:
        body = {"target": ask(client), "kind": "boolean", "value": True} | fields
        answer = client.post("/v1/feedback", json=body)
    assert answer.status_code == status, answer.text
    assert list(store.judged()) == []


def test_feedback_that_was_not_stored_is_no_2xx(serve) -> None:
    api = serve()
    with api.http() as client:
        id = ask(client)
        api.store.failure = StorageError("disk full")
        answer = client.post("/v1/feedback", json={"target": id, "kind": "boolean", "value": True})
        assert answer.status_code == 507
        assert client.get("/health").status_code == 503


def test_figures_and_health(serve) -> None:
    api = serve()
    with api.http() as client:
        id = ask(client)
        client.post("/v1/feedback", json={"target": id, "kind": "rating", "value": 4})
        figures = client.get("/metrics").text
        assert 'lamina:api_answers_total{finished_reason="stop"} 1.0' in figures
        assert 'lamina:api_feedback_total{kind="rating"} 1.0' in figures
        assert client.get("/health/live").json() == {"status": "ok"}
