"""The routes for whole texts, asked by OpenAI's own client where OpenAI has the route."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest

from lamina.contracts.texts import (
    Abilities,
    Classified,
    Embedded,
    Filled,
    Guess,
    Tagged,
    TaggedTexts,
    Translated,
    Writing,
    Written,
)
from lamina.kit.errors import InputError, NotFoundError


class Texts:
    """A ``TextService`` that counts: vectors of the text's length, the text's words turned round."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.known = Abilities(
            tasks=("embeddings", "fill-mask"), context=64, width=3, pairs=(("en", "it"),), labels=("bad", "good")
        )

    def abilities(self, model: str = "") -> Abilities:
        self._check(model)
        return self.known

    def embed(self, inputs, *, model="", truncate=False):
        self._check(model)
        self.asked.append((list(inputs), truncate))
        if any(len(one) > 64 for one in inputs) and not truncate:
            error = InputError("text 0 has 65 tokens, the model reads at most 64", where="input")
            error.code = "context_length_exceeded"
            raise error
        rows = np.array([[len(one), 0.5, -1.25] for one in inputs], np.float32)
        return Embedded(version="v1", prompt_tokens=sum(map(len, inputs)), vectors=rows)

    def fill(self, texts, *, model="", k=5):
        guesses = tuple(Guess(word, n, 0.5**n) for n, word in enumerate(("whale", "ship", "sea")[:k], 1))
        return Filled(version="v1", prompt_tokens=4, rows=tuple((guesses,) * text.count("[MASK]") for text in texts))

    def classify(self, texts, *, model=""):
        return Classified(version="v1", prompt_tokens=4, rows=tuple({"bad": 0.25, "good": 0.75} for _ in texts))

    def tag(self, texts, *, model=""):
        return TaggedTexts(version="v1", prompt_tokens=4, rows=tuple((Tagged(0, 4, "PER", 0.9),) for _ in texts))

    def translate(self, texts, how: Writing, *, model=""):
        self.asked.append((list(texts), how))
        rows = tuple(Translated(" ".join(reversed(text.split())), 3, text != "long") for text in texts)
        return Written(version="v1", prompt_tokens=7, rows=rows)

    summarize = translate

    def _check(self, model: str) -> None:
        if model not in ("", "v1", "v2"):
            raise NotFoundError(f"there is no model '{model}'")


@pytest.fixture
def texts() -> Texts:
    return Texts()


@pytest.fixture
def api(serve, texts):
    return serve(texts=texts)


def test_embeddings_by_the_official_client(api, texts) -> None:
    client = api.openai()
    found = client.embeddings.create(model="pequod", input=["a whale", "sea"])
    assert [row.embedding for row in found.data] == [[7.0, 0.5, -1.25], [3.0, 0.5, -1.25]]
    assert [row.index for row in found.data] == [0, 1]
    assert (found.model, found.usage.prompt_tokens, found.usage.total_tokens) == ("v1", 10, 10)
    plain = client.embeddings.create(model="v1", input="sea", encoding_format="float", dimensions=3, user="me")
    assert plain.data[0].embedding == [3.0, 0.5, -1.25]
    ids = client.embeddings.create(model="v1", input=[[5, 6], [7]])
    assert [row.embedding[0] for row in ids.data] == [2.0, 1.0]
    assert texts.asked[-1][0] == [[5, 6], [7]]
    one = client.embeddings.create(model="v1", input=[5, 6])
    assert len(one.data) == 1


def test_base64_is_little_endian_float32(api) -> None:
    with api.http() as http:
        body = {"model": "v1", "input": "sea", "encoding_format": "base64", "unheard_of": 1}
        answer = http.post("/v1/embeddings", json=body)
    assert answer.headers["x-lamina-ignored"] == "unheard_of"
    raw = base64.b64decode(answer.json()["data"][0]["embedding"])
    assert np.frombuffer(raw, "<f4").tolist() == [3.0, 0.5, -1.25]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": "x", "dimensions": 2}, "dimensions", "unsupported_parameter"),
        ({"input": ""}, "input", "invalid_request"),
        ({"input": ["x", " "]}, "input", "invalid_request"),
        ({"input": []}, "input", "invalid_request"),
        ({"input": "x" * 65}, "input", "context_length_exceeded"),
        ({"input": ["x"] * 2049}, "input", "invalid_request"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "invalid_request"),
    ],
)
def test_what_embeddings_refuse(api, body, param, code) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        api.openai().post("/embeddings", body={"model": "v1", **body}, cast_to=object)
    assert caught.value.param == param
    assert caught.value.code == code


def test_longer_texts_are_cut_where_it_is_asked(api, texts) -> None:
    found = api.openai().embeddings.create(model="v1", input="x" * 65, extra_body={"truncate": True})
    assert len(found.data) == 1
    assert texts.asked[-1][1] is True


def test_an_unknown_model_is_404(api) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        api.openai().embeddings.create(model="nobody", input="x")
    assert caught.value.code == "model_not_found"


def test_our_own_routes(api, texts) -> None:
    with api.http() as http:
        filled = http.post("/v1/fill-mask", json={"input": "a [MASK] [MASK]", "k": 2}).json()
        assert filled["data"][0]["masks"][1] == [
            {"word": "whale", "token": 1, "probability": 0.5},
            {"word": "ship", "token": 2, "probability": 0.25},
        ]
        classes = http.post("/v1/classify", json={"input": ["x", "y"]}).json()
        assert [(row["index"], row["label"]) for row in classes["data"]] == [(0, "good"), (1, "good")]
        assert classes["data"][0]["probabilities"] == {"bad": 0.25, "good": 0.75}
        tagged = http.post("/v1/tag", json={"input": "Ahab sails"}).json()
        assert tagged["data"][0]["words"] == [
            {"word": "Ahab", "begin": 0, "end": 4, "label": "PER", "probability": 0.9}
        ]
        asked = {"input": ["one two", "long"], "source": "en", "target": "it", "num_beams": 4, "max_tokens": 9}
        told = http.post("/v1/translate", json=asked).json()
        assert [(row["text"], row["finish_reason"]) for row in told["data"]] == [
            ("two one", "stop"),
            ("long", "length"),
        ]
        assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}
        assert told["model"] == "v1"
        how = texts.asked[-1][1]
        assert (how.source, how.target, how.num_beams, how.max_tokens, how.length_penalty) == ("en", "it", 4, 9, None)
        assert http.post("/v1/summarize", json={"input": "x y"}).json()["data"][0]["text"] == "y x"
        for path, body in (
            ("translate", {"input": "x", "beams": 4}),
            ("translate", {"input": "x", "source": "not a language"}),
            ("summarize", {"input": "x", "source": "en"}),
            ("fill-mask", {"input": "x", "k": 0}),
            ("classify", {"input": 5}),
        ):
            assert http.post(f"/v1/{path}", json=body).status_code == 400, (path, body)


def test_models_tell_what_they_can_do(api) -> None:
    models = {model.id: model for model in api.openai().models.list()}
    told = models["champion"].model_extra
    assert told["tasks"] == ["embeddings", "fill-mask"]
    assert told["max_model_len"] == 64
    assert told["languages"] == [["en", "it"]]
    assert told["dimensions"] == 3
    assert told["labels"] == ["bad", "good"]


def test_without_a_service_for_texts_there_are_no_routes(serve) -> None:
    with serve().http() as http:
        assert http.post("/v1/embeddings", json={"input": "x"}).status_code in (404, 405)
        assert "tasks" not in http.get("/v1/models").json()["data"][0]


def test_many_are_asked_at_once_and_chats_do_not_wait_for_them(serve) -> None:
    """More requests than the event loop's own threads: all wait together, and the chat is answered meanwhile."""

    class Slow(Texts):
        def __init__(self) -> None:
            super().__init__()
            self.together = threading.Barrier(41)

        def classify(self, texts, *, model=""):
            self.together.wait(20)
            return super().classify(texts)

    texts = Slow()
    api = serve(texts=texts)
    with ThreadPoolExecutor(40) as pool, api.http() as http:
        waiting = [pool.submit(http.post, "/v1/classify", json={"input": "x"}) for _ in range(40)]
        said = api.openai().chat.completions.create(model="v1", messages=[{"role": "user", "content": "hello"}])
        assert said.choices[0].message.content == "hello"
        texts.together.wait(20)
        assert {answer.result().status_code for answer in waiting} == {200}
