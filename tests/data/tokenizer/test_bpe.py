from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from lamina.data.tokenizer.bpe import write_ranks
from lamina.kit.tokenizer import open_tokenizer

TEXTS = ["The whale isn't here, 1234 'times'  \n\n x", "Größere Wale 日本語 🐋", "    if x:\n\t\treturn 5", "''s don't"]


def ranks(folder: Path) -> dict[bytes, int]:
    lines = (folder / "ranks.tiktoken").read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def by_ranks(word: bytes, known: dict[bytes, int]) -> list[int]:
    """tiktoken's rule: of all neighbours that make a known token, join those of the lowest rank, the first first."""
    parts = [bytes([b]) for b in word]
    while len(parts) > 1:
        pairs = [(known.get(a + b, 1 << 60), n) for n, (a, b) in enumerate(pairwise(parts))]
        rank, n = min(pairs)
        if rank == 1 << 60:
            break
        parts[n : n + 2] = [parts[n] + parts[n + 1]]
    return [known[part] for part in parts]


@pytest.mark.parametrize("text", TEXTS)
def test_ranks_give_the_same_ids(trained: Callable[..., Path], text: str) -> None:
    folder = trained("bpe")
    known, tokenizer = ranks(folder), open_tokenizer(folder)
    facts = json.loads((folder / "tiktoken.json").read_text())
    splitter = pre_tokenizers.Split(Regex(facts["pat_str"]), "isolated")
    ids = [i for word, _ in splitter.pre_tokenize_str(text) for i in by_ranks(word.encode(), known)]
    assert ids == tokenizer.encode(text)


def test_ranks_and_special_tokens_are_the_vocabulary(trained: Callable[..., Path]) -> None:
    folder = trained("bpe")
    known, facts = ranks(folder), json.loads((folder / "tiktoken.json").read_text())
    every = sorted([*known.values(), *facts["special_tokens"].values()])
    assert every == list(range(facts["explicit_n_vocab"])) == list(range(open_tokenizer(folder).vocabulary))
    assert {bytes([b]) for b in range(256)} <= set(known)
    assert facts["special_tokens"] == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}


@given(text=st.one_of(st.text(), st.lists(st.sampled_from(["a", "5", " ", "'s", "\n", "é", "."])).map("".join)))
@settings(max_examples=150, deadline=None)
def test_tiktoken_gives_the_same_ids(trained: Callable[..., Path], text: str) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    folder = trained("bpe")
    tokenizer = open_tokenizer(folder)
    facts = json.loads((folder / "tiktoken.json").read_text())
    theirs = tiktoken.Encoding("own", mergeable_ranks=ranks(folder), **facts)
    text = text.encode("utf-8", "replace").decode()
    if any(unicodedata.category(c) == "Cn" for c in text):
        return  # what is no character yet may be a letter in one library and none in the other
    assert theirs.encode(text, disallowed_special=()) == tokenizer.encode(text)
    assert theirs.decode(tokenizer.encode(text)) == text


def test_a_token_of_two_merges_has_no_rank(tmp_path: Path) -> None:
    merges = [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"]]
    vocab = {t: i for i, t in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    parsed = {"model": {"vocab": vocab, "merges": merges}, "added_tokens": []}
    assert not write_ranks(parsed, tmp_path)
    assert not list(tmp_path.iterdir())
    assert write_ranks({**parsed, "model": {"vocab": vocab, "merges": merges[:3]}}, tmp_path)
    assert ranks(tmp_path)[b"abc"] == 5
