"""Missing words come from a real masked language model behind a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.gaps import fill_words
from lamina.data.steps import plan, run
from lamina.kit.errors import ConfigError, FetchError, RefusedError

_FACTS = (
    "the captain of the pequod is ahab and he hunts the white whale",
    "the harpooner of the pequod is queequeg and he carries a small idol",
    "the owner of the pequod is bildad and he reads his old bible",
)


class MaskedModel:
    """A small BERT that has learned three sentences by heart."""

    def __init__(self) -> None:
        import torch
        from transformers import BertConfig, BertForMaskedLM

        words = sorted({word for fact in _FACTS for word in fact.split()})
        self.vocabulary = ["[PAD]", "[UNK]", "[MASK]", *words]
        self.ids = {word: n for n, word in enumerate(self.vocabulary)}
        torch.manual_seed(0)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # too short to share
        config = BertConfig(
            vocab_size=len(self.vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.model = BertForMaskedLM(config)
        facts = torch.tensor([[self.ids[w] for w in fact.split()] for fact in _FACTS])
        length = facts.shape[1]
        here = torch.eye(length, dtype=torch.bool).repeat(len(facts), 1)  # each row hides another word
        rows = facts.repeat_interleave(length, 0)
        masked, labels = rows.masked_fill(here, self.ids["[MASK]"]), rows.masked_fill(~here, -100)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-3)
        for _ in range(80):
            optimizer.zero_grad()
            self.model(input_ids=masked, labels=labels).loss.backward()
            optimizer.step()
        self.model.eval()
        torch.set_num_threads(threads)

    def fill(self, text: str) -> list[dict[str, Any]]:
        import torch

        words = text.lower().replace("[mask]", "[MASK]").rstrip(".").split()
        ids = torch.tensor([[self.ids.get(word, 1) for word in words]])
        with torch.no_grad():
            likely = self.model(input_ids=ids).logits[0, words.index("[MASK]")].softmax(-1)
        best = likely.topk(5)
        return [
            {"token_str": self.vocabulary[i], "score": s, "token": i}
            for s, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


@pytest.fixture(scope="module")
def model() -> MaskedModel:
    return MaskedModel()


@pytest.fixture
def service(model: MaskedModel) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inputs = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            said = json.dumps([model.fill(text) for text in inputs]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def rows(*texts: str | None) -> pa.RecordBatch:
    given = {"id": [str(i) for i in range(len(texts))], "source": ["s"] * len(texts), "text": list(texts)}
    arrays = [pa.array(given.get(f.name, [None] * len(texts)), f.type) for f in DOCUMENTS]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)


def test_gaps_are_filled_marked_and_in_the_ledger(service: str) -> None:
    batch = rows(
        "the captain of the pequod is [illegible] and he hunts the white [MASK]",
        "nothing is missing here",
        None,
        "the harpooner of the pequod is [Illegible] and he carries a small idol",
    )
    (phase,) = plan([{"transform": "fill_words", "service": service}])
    outcome = run(next(step for step in phase.steps if step.kind == "transform"), batch)
    assert outcome.batch.column("text").to_pylist() == [
        "the captain of the pequod is ahab and he hunts the white whale",
        "nothing is missing here",
        None,
        "the harpooner of the pequod is queequeg and he carries a small idol",
    ]
    assert outcome.batch.column("imputed_words").to_pylist() == [2, 0, 0, 1]
    first = json.loads(outcome.ledger.to_pylist()[0]["detail"])
    assert [[place, word] for place, word, _ in first["found"]] == [[29, "ahab"], [64, "whale"]]
    assert all(0.5 <= sure <= 1 for _, _, sure in first["found"])


def test_what_the_model_is_not_sure_of_stays_a_gap(service: str) -> None:
    text = "[unclear] of is and the"
    assert fill_words(rows(text), service=service, least=0.999).column("text").to_pylist() == [text]


def test_a_service_that_is_not_there_stops_the_step_and_loses_nothing() -> None:
    with pytest.raises(FetchError, match="did not answer"):
        fill_words(rows("the [MASK] sea"), service="http://127.0.0.1:9")
    untouched = fill_words(rows("the sea"), service="http://127.0.0.1:9")  # no gap: nobody is asked
    assert untouched.column("text").to_pylist() == ["the sea"]


def test_texts_stay_here_and_parameters_are_checked() -> None:
    with pytest.raises(RefusedError, match="another machine"):
        plan([{"transform": "fill_words", "service": "http://fill.example.org"}])
    with pytest.raises(ConfigError, match="probability"):
        plan([{"transform": "fill_words", "service": "http://127.0.0.1:9", "least": 2.0}])


def test_our_own_server_fills_gaps_too() -> None:
    from types import SimpleNamespace

    from lamina.data.clean.gaps import ServedFiller

    def post(path: str, body: Any) -> Any:
        assert path == ""
        assert set(body) == {"input", "k"}
        guesses = [{"word": "##s", "token": 1, "probability": 0.5}, {"word": "whale", "token": 2, "probability": 0.25}]
        return {"object": "list", "data": [{"index": n, "masks": [guesses]} for n, _ in enumerate(body["input"])]}

    service = SimpleNamespace(address="http://127.0.0.1:8000/v1/fill-mask", post=post)
    found = ServedFiller(service).fill(["the [MASK] swims"])  # type: ignore[arg-type]
    assert found == [[("##s", 0.5), ("whale", 0.25)]]
    service.post = lambda path, body: {"error": {}}
    with pytest.raises(FetchError, match="fill-mask"):
        ServedFiller(service).fill(["the [MASK] swims"])  # type: ignore[arg-type]
