"""A stack whose model is an encoder, from its file to the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openai
import pytest
from starlette.testclient import TestClient

from lamina.kit.progress import open_progress
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.vector_files import write_vectors
from lamina.recipes.serve import make_app
from lamina.recipes.stack import open_stack
from lamina.recipes.up import bring_up


@pytest.fixture
def bert(tmp_path: Path, in_this_process: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stack file of a fresh BERT with a tokenizer; its stages run in this process."""
    import torch

    from lamina.data.tokenizer.train import train_tokenizer
    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import save_model
    from lamina.model.transformer import Transformer
    from lamina.recipes.rows import _write_texts

    in_this_process(monkeypatch)
    _write_texts(tmp_path / "data", [{"text": "the whale swims in the sea near the old harbour"}])
    train_tokenizer(tmp_path, tmp_path / "tokenizer", use="wordpiece", vocabulary=300)
    torch.manual_seed(0)
    save_model(Transformer(preset("bert-nano", vocabulary=300)), tmp_path / "bert", like=tmp_path / "tokenizer")
    file = tmp_path / "lamina.toml"
    file.write_text('name = "filler"\n[model]\nbase = "bert"\n[deployment.vectors]\nwords = "words.bin"\n')
    write_vectors(KeyedVectors(["whale", "sea"], np.eye(2, 4, dtype=np.float32)), tmp_path / "words.bin")
    return file


def test_it_is_served_and_says_what_it_can_do(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bring_up(bert, [], places=[], serve=False, json=False)
    assert "v1 is the champion" in capfd.readouterr().out
    with (
        make_app(open_stack(bert), open_progress("quiet")) as app,
        TestClient(app, base_url="http://127.0.0.1") as client,
    ):
        (champion,) = [m for m in client.get("/v1/models").json()["data"] if m["id"] == "filler"]
        assert champion["tasks"] == ["fill-mask", "embeddings"]
        vectors = client.post("/v1/embeddings", json={"model": "filler", "input": ["the whale", "the sea"]}).json()
        rows = np.array([row["embedding"] for row in vectors["data"]])
        assert rows.shape == (2, champion["dimensions"])
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        filled = client.post("/v1/fill-mask", json={"input": "the [MASK] swims", "k": 3}).json()
        assert len(filled["data"][0]["masks"][0]) == 3
        refused = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]})
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_task", "model")
        assert "v1 cannot chat" in error["message"]
        assert "/v1/fill-mask" in error["message"]
        assert client.get("/health/ready").status_code == 200
        _asks_for_word_vectors(client)
        assert 'lamina:prompt_tokens_total{model_name="v1"}' in client.get("/metrics").text


def _asks_for_word_vectors(client: TestClient) -> None:
    """By OpenAI's own client, which asks for base64."""
    theirs = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=client, max_retries=0)
    listed = {model.id: model.to_dict() for model in theirs.models.list()}["words"]
    assert (listed["tasks"], listed["dimensions"]) == (["embeddings"], 4)
    found = theirs.embeddings.create(model="words", input=["The whale, the sea", "whale"])
    assert np.allclose([row.embedding for row in found.data], [[0.5**0.5, 0.5**0.5, 0, 0], [1, 0, 0, 0]])
    assert (found.model, found.usage.prompt_tokens) == ("words", 5)
    for wrong, words in (({"input": ["of nothing"]}, "no word of text 0"), ({"input": "sea", "dimensions": 3}, "4")):
        with pytest.raises(openai.BadRequestError, match=words):
            theirs.embeddings.create(model="words", **wrong)
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        theirs.chat.completions.create(model="words", messages=[{"role": "user", "content": "hello"}])
