from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.clean import perplexity as step
from lamina.data.clean.perplexity import perplexity
from lamina.kit.errors import ConfigError, RefusedError

Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


class Model(ThreadingHTTPServer):
    """A server whose answers the test decides; ``asked`` has the paths and bodies."""

    daemon_threads = True
    answer: Answer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body))
        status, said = self.server.answer(self.path, body)
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def model() -> Iterator[Model]:
    step._opened.cache_clear()
    server = Model()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(texts: list[str | None], **parameters: Any) -> dict[str, list[Any]]:
    return perplexity(pa.record_batch({"text": pa.array(texts, pa.string())}), **parameters).to_pydict()


def one_nat_a_character(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    if path == "/score":
        return 200, {"scores": [{"nats": float(len(t)), "tokens": max(1, len(t) // 2)} for t in body["texts"]]}
    choices = [
        {
            "index": number,
            "text": prompt,
            "logprobs": {"token_logprobs": [None, *([-1.0] * len(prompt))], "text_offset": [0] * (len(prompt) + 1)},
        }
        for number, prompt in enumerate(body["prompt"])
    ]
    return 200, {"choices": choices[::-1]}


def test_a_completion_that_echoes_the_prompt_gives_its_log_probabilities(model: Model) -> None:
    model.answer = one_nat_a_character
    found = run(["four", None, " ", "äö"], service=f"{model.address}/v1", model="base")
    assert found["bits_per_byte"] == pytest.approx([1 / math.log(2), None, None, 0.5 / math.log(2)], nan_ok=True)
    assert found["perplexity"] == pytest.approx([math.e, None, None, math.e])
    assert found["perplexity_failed"] == [None] * 4
    path, body = model.asked[0]
    assert (path, body["model"], body["echo"], body["max_tokens"]) == ("/v1/completions", "base", True, 0)


def test_the_recipes_own_scorer_is_found_in_the_environment(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model.answer = one_nat_a_character
    monkeypatch.setenv("LAMINA_SCORER", model.address)
    found = run(["abcd" * 10, "x" * 50], max_chars=20)
    assert found["bits_per_byte"] == pytest.approx([1 / math.log(2)] * 2)
    assert found["perplexity"] == pytest.approx([math.e**2] * 2)
    assert model.asked[0][1]["texts"] == ["abcd" * 5, "x" * 20]


def test_many_texts_are_asked_about_together_and_each_gets_its_own_answer(model: Model) -> None:
    model.answer = lambda path, body: (
        200,
        {"scores": [{"nats": float(text.count("a")), "tokens": 1} for text in body["texts"]]},
    )
    texts: list[str | None] = ["a" * n + "b" * (40 - n) for n in range(30)]
    found = run(texts, service=model.address, protocol="score")
    assert found["bits_per_byte"] == pytest.approx([n / math.log(2) / 40 for n in range(30)])
    assert len(model.asked) == 4


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda path, body: (500, {"error": "out of memory"}), "500"),
        (lambda path, body: (200, b"not JSON"), "JSON"),
        (lambda path, body: (200, {"scores": []}), "1 texts got 0 answers"),
        (lambda path, body: (200, {"scores": [{"nats": "x"}]}), "not one of a scorer"),
        (lambda path, body: (200, {"scores": [{"nats": float("nan"), "tokens": 2}]}), "no numbers"),
    ],
)
def test_a_failure_is_null_with_its_reason(model: Model, answer: Answer, words: str) -> None:
    model.answer = answer
    found = run(["a text", None], service=model.address, protocol="score")
    assert found["bits_per_byte"] == [None, None]
    assert words in found["perplexity_failed"][0]
    assert found["perplexity_failed"][1] is None
    assert found["text"] == ["a text", None]


def test_a_server_that_gives_only_what_it_wrote_itself_is_found_out(model: Model) -> None:
    written = {"text": "so it goes", "logprobs": {"token_logprobs": [-1.0], "text_offset": [10]}}
    for choice in (written, {"text": "x", "logprobs": None}):
        step._opened.cache_clear()
        model.answer = lambda path, body, choice=choice: (200, {"choices": [choice]})
        found = run(["so it goes"], service=model.address)
        assert found["bits_per_byte"] == [None]
        assert "no log-probabilities of prompts" in found["perplexity_failed"][0]


def test_one_text_that_the_model_refuses_does_not_cost_the_others_theirs(model: Model) -> None:
    model.answer = lambda path, body: (
        (400, {"error": "too long"}) if "bad" in body["texts"] else one_nat_a_character(path, body)
    )
    found = run(["good", "bad", "fine"], service=model.address, protocol="score")
    assert [b is None for b in found["bits_per_byte"]] == [False, True, False]


def test_a_dead_server_is_left_alone_after_a_while_and_asked_again_later(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.answer = lambda path, body: (503, {"error": "gone"})
    texts: list[str | None] = [f"text {n}" for n in range(40)]
    found = run(texts, service=model.address, protocol="score")
    assert found["bits_per_byte"] == [None] * 40
    assert len(model.asked) == 3
    assert all("503" in why for why in found["perplexity_failed"])
    model.answer = one_nat_a_character
    assert run(["x"], service=model.address, protocol="score")["bits_per_byte"] == [None]
    now = time.monotonic()
    monkeypatch.setattr(step.time, "monotonic", lambda: now + 100)
    assert run(["x"], service=model.address, protocol="score")["bits_per_byte"] != [None]


def test_a_server_that_hangs_costs_its_time_out_and_no_document(model: Model) -> None:
    model.answer = lambda path, body: (time.sleep(4.0), (200, {}))[1]
    begin = time.monotonic()
    found = run(["a", "b"], service=model.address, protocol="score", timeout_s=0.1)
    assert found["bits_per_byte"] == [None, None]
    assert time.monotonic() - begin < 3.5


def test_mistakes_are_found_without_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMINA_SCORER", raising=False)
    with pytest.raises(ConfigError, match="no model is served"):
        run([])
    with pytest.raises(RefusedError, match="another machine"):
        run([], service="https://models.example.org/v1")
    with pytest.raises(ConfigError, match="max_chars"):
        run([], service="http://127.0.0.1:1", max_chars=0)
