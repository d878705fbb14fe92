"""Vocabularies cut to a domain: every text still comes back, and texts of the domain are encoded as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.chat import Message
from lamina.deployment.compress.vocabulary import kept_tokens, prune_tokenizer, prune_vocabulary
from lamina.kit.errors import InputError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.architectures.gpt import llama
from lamina.model.checkpoint import open_model, save_model
from lamina.model.transformer import Transformer

DOMAIN = [
    "The white whale swam before him as the monomaniac incarnation of all those malicious agencies.",
    "Call me Ishmael. Some years ago - never mind how long precisely - I went to sea.",
    "\tthe harpooneer's   boat, 42 fathoms long;\n\n  'Stern all!'",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, material: Callable[[str], Path]) -> Path:
    """SmolLM2's own tokenizer, of 49,152 tokens, as the model's import writes it."""
    from lamina.model.gguf.header import read_header
    from lamina.model.gguf.tokenizer import write_tokenizer

    folder, file = tmp_path_factory.mktemp("whole"), next(material("smollm2").rglob("*.gguf"))
    write_tokenizer(read_header(file).fields, folder, str(file))
    (folder / "config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": None}))
    return folder


@pytest.fixture(scope="module")
def cut(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelTokenizer, ModelTokenizer, np.ndarray]:
    """The tokenizer, what is left of it for the domain, and the ids that stayed."""
    folder, tokenizer = tmp_path_factory.mktemp("cut"), open_tokenizer(whole)
    kept = kept_tokens(whole, [i for text in DOMAIN for i in tokenizer.encode(text)])
    prune_tokenizer(whole, folder, kept)
    return tokenizer, open_tokenizer(folder), kept


def test_texts_of_the_domain_are_encoded_as_before(cut: tuple[ModelTokenizer, ModelTokenizer, np.ndarray]) -> None:
    before, after, kept = cut
    assert after.vocabulary == len(kept) < 700
    assert len(kept) % 64 == 0
    for text in DOMAIN:
        assert [int(kept[i]) for i in after.encode(text)] == before.encode(text)
    chat = [Message("user", DOMAIN[1]), Message("assistant", "Aye.")]
    ours, theirs = after.render(chat), before.render(chat)
    assert before.decode([int(kept[i]) for i in ours.ids]) == before.decode(theirs.ids)
    assert sum(theirs.learned) <= sum(ours.learned)
    assert [before.token_of(i) for i in before.end_ids] == [after.token_of(i) for i in after.end_ids]
    assert after.turn_end_id is not None


@settings(max_examples=150, deadline=None)
@given(text=st.text() | st.text(alphabet="the whaleships \n'0123ÄΩ鯨🐋", max_size=40))
def test_every_text_comes_back(cut: tuple[ModelTokenizer, ModelTokenizer, np.ndarray], text: str) -> None:
    before, after, kept = cut
    ids = after.encode(text)
    assert after.decode(ids) == before.decode(before.encode(text))
    assert before.decode([int(kept[i]) for i in ids]) == after.decode(ids)


def test_frequent_tokens_of_the_base_stay(whole: Path) -> None:
    kept = kept_tokens(whole, [], common=4096)
    assert len(kept) == 4096
    tokenizer = open_tokenizer(whole)
    assert set(tokenizer.encode(" the people of the world")) <= set(kept.tolist())
    assert len(kept_tokens(whole, [49151], common=0)) < 400


def test_transformers_opens_it(cut: tuple[ModelTokenizer, ModelTokenizer, np.ndarray]) -> None:
    transformers = pytest.importorskip("transformers")
    _, after, _ = cut
    theirs = transformers.AutoTokenizer.from_pretrained(after.folder)
    for text in DOMAIN:
        assert theirs(text, add_special_tokens=False)["input_ids"] == after.encode(text)
    assert theirs.eos_token_id in after.end_ids


def test_files_name_the_new_ids(tmp_path: Path) -> None:
    vocabulary = {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5}
    added = [{"content": "<s>", "id": 6, "special": True}, {"content": "<pad>", "id": 7, "special": True}]
    marks = {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}}
    template = {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": marks}
    written = {
        "version": "1.0",
        "added_tokens": added,
        "post_processor": {
            "type": "Sequence",
            "processors": [template, {"type": "RobertaProcessing", "sep": ["<s>", 6], "cls": ["<s>", 6]}],
        },
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["a b", ["ab", "c"], ["a", "bc"], "b c"]},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"6": {}, "7": {}}}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [6, 7], "pad_token_id": 4}))
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 6, "pad_token_id": 99, "vocab_size": 8}))
    assert kept_tokens(tmp_path, [5]).tolist() == list(range(8))  # "abc" is a padding token, and may come from "bc"
    kept = np.array([0, 1, 2, 5, 6, 7])
    prune_tokenizer(tmp_path, tmp_path / "new", kept)
    files = {p.name: json.loads(p.read_bytes()) for p in (tmp_path / "new").iterdir()}
    model = files["tokenizer.json"]["model"]
    assert model["vocab"] == {"a": 0, "b": 1, "c": 2, "bc": 3}
    assert model["merges"] == ["b c"]
    first, second = files["tokenizer.json"]["post_processor"]["processors"]
    assert first["special_tokens"]["<s>"] == {"id": "<s>", "ids": [4], "tokens": ["<s>"]}
    assert (second["sep"], second["cls"]) == (["<s>", 4], ["<s>", 4])
    assert files["tokenizer_config.json"]["added_tokens_decoder"] == {"4": {}, "5": {}}
    assert files["generation_config.json"] == {"eos_token_id": [4, 5], "pad_token_id": None}
    assert files["config.json"] == {"bos_token_id": 4, "pad_token_id": None, "vocab_size": 8}


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram"])
def test_other_kinds_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": kind, "vocab": {"a": 0}}}))
    with pytest.raises(InputError, match="only the vocabulary of a BPE"):
        kept_tokens(tmp_path, [0])


@pytest.mark.parametrize("tied", [True, False])
def test_scores_of_what_stays_are_the_same(tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Transformer(llama(vocabulary=50, width=32, layers=2, heads=4, max_positions=32, tied=tied)).eval()
    kept = np.array([1, 2, 5, 8, 13, 21, 34, 49])
    smaller = prune_vocabulary(model, kept)
    ids = torch.randint(8, (2, 9))
    old = torch.from_numpy(kept)[ids]
    with torch.no_grad():
        expected = model.logits(model(old))[..., torch.from_numpy(kept)]
        torch.testing.assert_close(smaller.logits(smaller(ids)), expected)
    save_model(smaller, tmp_path)
    assert open_model(tmp_path).spec.stack.embeddings.vocabulary == 8
    assert smaller.parameter_count == model.parameter_count - (1 if tied else 2) * 42 * 32
    with pytest.raises(InputError, match="no token 50"):
        prune_vocabulary(model, np.array([3, 50]))
