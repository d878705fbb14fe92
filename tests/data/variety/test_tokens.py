"""Training tokens beside documents and characters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lamina.data.mixture_groups import add_tokens
from lamina.data.shards import ShardWriter
from lamina.data.variety.measure import write_variety


class Numbers:
    vocabulary = 1000
    end_ids = (0,)

    def encode(self, text: str) -> list[int]:
        return [1]


def test_tokens_of_each_group(
    corpus: Callable[..., Path], theme_texts: Callable[..., list[str]], tmp_path: Path
) -> None:
    rows = [
        {
            "text": text,
            "source": "books" if n < 10 else "posts",
            "language": "en" if n % 2 else None,
            "created": datetime(2020 + n % 2, 1, 1, tzinfo=UTC),
        }
        for n, text in enumerate(theme_texts("sea", 10) + theme_texts("law", 20))
    ]
    folder = corpus(rows)
    found = write_variety(folder)
    with ShardWriter(tmp_path / "tokens", Numbers()) as writer:  # type: ignore[arg-type]
        for n in range(30):
            size = 100 if n < 10 else 10
            writer.add([0] * size, [True] * size, id=f"d{n}", source="books" if n < 10 else "posts")
        shards = writer.close()
    told = add_tokens(found, shards, folder)
    assert told["tokens"] == 1200
    shares = told["shares"]
    assert {g["name"]: g["tokens"] for g in shares["source"]["groups"]} == {"books": 1000, "posts": 200}
    assert shares["language"]["groups"][0]["tokens"] == shares["language"]["unknown"]["tokens"] == 600
    assert {g["name"]: g["tokens"] for g in shares["year"]["groups"]} == {"2020": 600, "2021": 600}
    assert sum(g["tokens"] for g in shares["topic"]["groups"]) == 1200
    assert shares["source"]["effective"]["tokens"] == pytest.approx(1.569, abs=0.001)
    assert "tokens" not in found  # what was measured stays as it is
    assert "tokens" not in found["shares"]["source"]["groups"][0]
