"""Small shards of numbers, and what every stream must keep."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.contracts.tokens import Batch
from lamina.data.shards import Shards, ShardWriter

ARRAYS = ("inputs", "targets", "segments", "positions", "sources", "source_segments", "kinds", "labels")


class Numbers:
    """Stands for a tokenizer: a text is its numbers."""

    vocabulary = 1000
    end_ids = (1,)

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split() if word.isdigit()]


def shards(
    folder: Path, documents: Sequence[Sequence[int]], *, ids: Sequence[str] | None = None, edged: bool = False
) -> Shards:
    """``edged``: written as ``write_shards`` does, with what a document begins and ends with."""
    facts = {"start": 101, "end": 102} if edged else {}
    with ShardWriter(folder, Numbers(), **facts) as writer:  # type: ignore[arg-type]
        for number, tokens in enumerate(documents):
            marks = [False] + [True] * (len(tokens) - 1)
            writer.add(tokens, marks, id=ids[number] if ids else str(number), source="s")
        return writer.close()


def texts(count: int, *, longest: int = 40, seed: int = 0, edged: bool = False) -> list[list[int]]:
    """Documents of ordinary numbers, from 200 on."""
    random = np.random.default_rng(seed)
    found = [random.integers(200, 1000, random.integers(1, longest + 1)).tolist() for _ in range(count)]
    return [[101, *tokens, 102] for tokens in found] if edged else found


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in ARRAYS]
    return all(np.array_equal(x, y) if x is not None and y is not None else x is y for x, y in pairs)


def check_resume(make: Callable[[], Any], *, batches: int = 30) -> None:
    """Every batch after every place is the same, wherever the stream was left, over epochs."""
    whole = make()
    expected, places = [], []
    for _ in range(batches):
        places.append(json.loads(json.dumps(whole.state())))
        expected.append(next(whole))
    assert not all(same(expected[0], batch) for batch in expected[1:])
    for start in (0, 1, batches // 2, batches - 1):
        again = make()
        next(again)  # a place is gone to from anywhere
        again.restore(places[start])
        for batch in expected[start : start + 3]:
            assert same(next(again), batch)
