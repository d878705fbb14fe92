from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.data.tokenizer.compare import Counts, Figures, measure, verdict
from lamina.data.tokenizer.sample import draw
from lamina.kit.tokenizer import open_tokenizer

import pyarrow as pa  # isort: skip


def test_figures_are_those_of_the_texts(trained: Callable[..., Path]) -> None:
    tokenizer = open_tokenizer(trained("wordpiece"))
    texts = {"sea": ["the whale", "the  Ship"], "wal": ["鯨 the"]}
    heard: list[float] = []
    found = measure("w", tokenizer, ((s, pa.array(t)) for s, t in texts.items()), after=heard.append)
    ids = {s: [tokenizer.encode(t) for t in some] for s, some in texts.items()}
    tokens = {s: sum(map(len, some)) for s, some in ids.items()}
    assert found.sources == {
        "sea": Counts(documents=2, whole=1, bytes=18, words=4, tokens=tokens["sea"], unknown=0),
        "wal": Counts(documents=1, whole=0, bytes=7, words=2, tokens=tokens["wal"], unknown=1),
    }
    assert found.unknown_rate == 1 / sum(tokens.values())
    assert found.fertility == sum(tokens.values()) / 6
    assert found.whole == 1 / 3
    assert found.used == len({i for some in ids.values() for row in some for i in row}) / tokenizer.vocabulary
    assert sum(heard) == 23
    told = found.as_json(64)
    assert told["embedding_parameters"] == 64 * tokenizer.vocabulary
    assert told["sources"]["sea"]["bytes_per_token"] == 18 / tokens["sea"]


def test_kinds_that_are_trained_beat_bytes(trained: Callable[..., Path], small_corpus: Path) -> None:
    files = sorted((small_corpus / "data").glob("held_out-*.parquet"))
    for use in ("bpe", "unigram"):
        found = measure(use, open_tokenizer(trained(use)), draw(files).by_source())
        assert set(found.sources) == {"sea", "wal", "code"}
        assert found.all.bytes_per_token > 3
        assert (found.whole, found.unknown_rate) == (1.0, 0.0)


def figures(name: str, vocabulary: int, tokens: int, *, whole: int = 10, unknown: int = 0) -> Figures:
    counts = Counts(documents=10, whole=whole, bytes=12_000, words=2000, tokens=tokens, unknown=unknown)
    return Figures(name, "BPE", vocabulary, 0.9, {"s": counts})


def test_the_verdict_names_the_best_and_its_price() -> None:
    lines = verdict(
        [
            figures("bpe 4096", 4096, 4000),
            figures("wordpiece 4096", 4096, 3000, whole=1, unknown=30),
            figures("bpe 8192", 8192, 2400),
        ],
        100,
    )
    assert lines == [
        "4,096 ids: wordpiece 4096, 4.000 bytes per token (33.3% more than bpe 4096); price: 0.4 M parameters of "
        "embedding at width 100, only 10.0% of the documents come back as they were, 1.00% of the tokens are unknown "
        "words",
        "  that gives every text back: bpe 4096, 3.000 bytes per token, 25.0% less",
        "8,192 ids: bpe 8192, 5.000 bytes per token; price: 0.8 M parameters of embedding at width 100",
        "from 4,096 to 8,192 ids: 20.0% fewer tokens for 0.4 M parameters more",
    ]


def test_nothing_measured() -> None:
    empty = Figures("e", "BPE", 10, 0.0)
    assert (empty.all.bytes_per_token, empty.fertility, empty.unknown_rate, empty.whole) == (0.0, 0.0, 0.0, 0.0)
    with pytest.raises(KeyError):
        empty.sources["s"]
