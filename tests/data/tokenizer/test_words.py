from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamina.data.tokenizer.chunk_kernels import LONGEST
from lamina.data.tokenizer.chunks import Chunks, lone_texts
from lamina.data.tokenizer.sample import draw
from lamina.data.tokenizer.words import count_characters, count_words
from lamina.kit.progress import open_progress
from lamina.kit.tokenizer_chunks import SPACES

import pyarrow as pa  # isort: skip

QUIET = open_progress("quiet")


def counted(corpus: Path, **options: Any) -> tuple[int, dict[str, int]]:
    sample = draw(sorted((corpus / "data").glob("train-*.parquet")))
    less, words = count_words(sample, SPACES, progress=QUIET, **{"most": 10**6, **options})
    return less.total, dict(words)


def test_words_are_counted_with_the_space_before_them(tmp_path: Path, corpus_of: Callable[..., Path]) -> None:
    place = corpus_of(tmp_path, {"s": ["a whale, a  whale", None, "x" * 60 + " a"], "t": ["a whale,"]})
    total, words = counted(place)
    assert total == 17 + 62 + 8
    assert words == {"a": 2, " whale,": 2, " a": 2, "  whale": 1, "x" * 60: 1}


def test_too_many_different_words_make_the_sample_smaller(tmp_path: Path, corpus_of: Callable[..., Path]) -> None:
    texts = [" ".join(f"w{n}x{i}" for i in range(60)) for n in range(300)]
    place = corpus_of(tmp_path, {"s": texts, "t": texts[:30]})
    total, words = counted(place, most=20_000)
    assert sum(map(len, words)) <= 20_000
    assert 10_000 < total < sum(map(len, texts)) / 3
    assert len({word for word in words if word.startswith("w")}) > 5


@given(st.lists(st.text(st.sampled_from("ab ,é🐋\n"), max_size=40), min_size=1, max_size=30))
@example(["aaaaaaaaaaaaaaaé🐋🐋🐋🐋🐋🐋🐋🐋"])  # longer than what is remembered
@settings(deadline=None)
def test_chunks_put_together_are_the_text(texts: list[str]) -> None:
    table, full = Chunks(SPACES, 4), Chunks(SPACES, 2)
    counts: Counter[str] = Counter()
    for begin in range(0, len(texts), 7):
        some = pa.array(texts[begin : begin + 7])
        for chunks, grow in ((table, True), (full, False)):
            found = chunks.find(some, grow=grow)
            known, lone = chunks.texts(0, len(chunks)), iter(lone_texts(found))
            parts = [known[code] if code >= 0 else next(lone) for code in found.codes.tolist()]
            ends = found.ends.tolist()
            assert ["".join(parts[a:b]) for a, b in pairwise(ends)] == some.to_pylist()
            if grow:
                counts.update(part for part in parts if len(part.encode()) <= LONGEST)
    assert len(full) <= 2
    assert sorted(counts) == sorted(table.texts(0, len(table)))
    table.clear()
    assert len(table) == 0
    assert len(table.find(pa.array(["ab ab ab"])).lone) == 0
    assert table.texts(0, len(table)) == ["ab", " ab"]


def test_characters_are_counted(tmp_path: Path, corpus_of: Callable[..., Path]) -> None:
    place = corpus_of(tmp_path, {"s": ["aé🐋 aa", "z" * 80]})
    sample = draw(sorted((place / "data").glob("train-*.parquet")))
    counts = count_characters(count_words(sample, SPACES, most=10**6, progress=QUIET)[1])
    assert {chr(c): int(counts[c]) for c in np.flatnonzero(counts)} == {"a": 3, "é": 1, "🐋": 1, " ": 1, "z": 80}
