from __future__ import annotations

import itertools
import math
import random
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.duplicates.folding import ALONE, NOTHING, SEPARATOR, folding
from lamina.data.duplicates.items import grams_of_words, words_of_texts
from lamina.data.duplicates.kernels import band_keys, bytes_hash, grams_of, minimums
from lamina.data.duplicates.sketch import Scheme, utf8
from lamina.data.duplicates.stars_kernels import jaccard_of


def words(text: str) -> list[int]:
    return words_of_texts([text])[0].tolist()


def test_folding_of_single_characters() -> None:
    table = folding().table
    assert table[ord("É")] == table[ord("e")] == ord("e")
    assert table[ord("Ａ")] == ord("a")  # full width
    assert table[ord("ς")] == table[ord("Σ")] == ord("σ")
    assert table[0x301] == table[0xAD] == NOTHING  # a combining accent, a soft hyphen
    assert table[ord(" ")] == table[ord("-")] == table[ord("’")] == table[0x1F525] == SEPARATOR
    assert table[ord("鯨")] == ALONE | ord("鯨")
    assert table[ord("ｶ")] == ALONE | ord("カ")
    assert table[ord("7")] == ord("7")
    assert folding(figures=False).table[ord("7")] == folding(figures=False).table[ord("٣")] == NOTHING


def test_words_do_not_depend_on_case_accents_marks_and_forms() -> None:
    assert words("Cafe\u0301 — the ﬁrst STRASSE") == words("café; the first straße")
    assert words("co\u00adoperate") == words("cooperate")
    assert words("a-b") == words("a b") != words("ab")
    assert len(words("白鯨 the whale")) == 4
    assert words("กขค") == [*words("ก"), *words("ข"), *words("ค")]
    assert words("") == words("!? 🔥 --") == []
    assert words("हिन्दी भाषा") != words("हन्द भष")  # vowel signs count


@settings(deadline=None)
@given(st.text(max_size=200))
def test_words_are_those_of_a_slow_reading(text: str) -> None:
    plain = "".join(c for c in text if ord(c) < 0x250)  # Latin, where the rules are short
    expected = re.findall(
        r"[^\W_]+",
        "".join(
            c
            for c in unicodedata.normalize("NFKD", plain.replace("\u00ad", "").casefold())
            if unicodedata.category(c) not in ("Mn", "Me")
        ),
    )
    if not any(unicodedata.category(c) == "No" or unicodedata.decomposition(c).startswith("<") for c in plain):
        assert words(plain) == [words(w)[0] for w in expected]


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_bytes_that_are_no_utf8_do_no_harm(data: bytes) -> None:
    from lamina.data.duplicates.kernels import words_of

    fold = folding()
    raw = np.frombuffer(data + b"\xff" * 4, np.uint8)
    out = np.empty(len(raw) + 1, np.uint64)
    assert 0 <= words_of(raw, 0, len(data), fold.table, fold.many, out) <= len(data) // 2 + 1


def test_grams_by_hand() -> None:
    sequence, ends = words_of_texts(["a b c d e f", "a b c d e", "a b", "b a", ""])
    out = np.empty(20, np.uint32)
    sizes, first = [], []
    for i in range(5):
        part = sequence[ends[i] : ends[i + 1]]
        sizes.append(grams_of(part, len(part), 5, out))
        first.append(int(out[0]))
    assert sizes == [2, 1, 1, 1, 0]
    assert first[0] == first[1]
    assert first[2] != first[3]
    assert len(grams_of_words(sequence[:6], 5)) == 2
    assert len(grams_of_words(sequence[:4], 5)) == 0
    assert (grams_of_words(sequence[:6], 3)[1:] == grams_of_words(sequence[1:6], 3)).all()


def test_slices_and_missing_texts_of_arrow() -> None:
    column = pa.array(["one", None, "three", "four"])[1:]
    data, offsets = utf8(column)
    assert [bytes(data[a:b]) for a, b in itertools.pairwise(offsets)] == [b"", b"three", b"four"]
    assert utf8(pa.array([], pa.string()))[1].tolist() == [0]
    h = [bytes_hash(data, offsets[i], offsets[i + 1]) for i in (1, 2)]
    assert h[0] != h[1]


def signatures(sets: list[np.ndarray], scheme: Scheme) -> np.ndarray:
    xors, factors = scheme.permutations()
    out = np.zeros((len(sets), len(xors)), np.uint32)
    for row, grams in zip(out, sets, strict=True):
        minimums(grams, len(grams), xors, factors, row)
    return out


def pairs(likeness: float, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(seed)
    size = 400
    common = round(2 * size * likeness / (1 + likeness))
    found = []
    for _ in range(count):
        values = draw.choice(2**32, 2 * size - common, replace=False).astype(np.uint32)
        found.append((values[:size], np.concatenate([values[:common], values[size:]])))
    return found


@pytest.mark.parametrize("likeness", [0.2, 0.5, 0.8, 0.95])
def test_the_estimator_has_the_error_that_theory_gives_it(likeness: float) -> None:
    """112 independent permutations agree like a binomial: mean J, standard deviation sqrt(J (1 - J) / 112)."""
    some = pairs(likeness, 400, 1)
    a = signatures([p[0] for p in some], Scheme())
    b = signatures([p[1] for p in some], Scheme())
    estimates = (a == b).mean(axis=1)
    exact = len(np.intersect1d(*some[0])) / len(np.union1d(*some[0]))
    deviation = math.sqrt(exact * (1 - exact) / 112)
    assert abs(estimates.mean() - exact) < 4 * deviation / math.sqrt(400)
    assert 0.85 * deviation < estimates.std() < 1.15 * deviation


@pytest.mark.parametrize("likeness", [0.5, 0.7, 0.8, 0.9])
def test_bands_collide_as_often_as_the_formula_says(likeness: float) -> None:
    scheme, count = Scheme(), 600
    some = pairs(likeness, count, 2)
    both = signatures([s for pair in some for s in pair], scheme)
    keys = np.zeros((scheme.bands, 2 * count), np.uint64)
    for row in range(2 * count):
        band_keys(both[row], scheme.rows, row, keys)
    share = (keys[:, ::2] == keys[:, 1::2]).any(axis=0).mean()
    exact = len(np.intersect1d(*some[0])) / len(np.union1d(*some[0]))
    wanted = 1 - (1 - exact**scheme.rows) ** scheme.bands
    assert abs(share - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / count) + 0.01


@settings(deadline=None)
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]))
def test_jaccard_is_exact_down_to_its_limit(a: set[int], b: set[int], least: float) -> None:
    values = np.array([*sorted(a), *sorted(b)], np.uint32)
    found = jaccard_of(values, 0, len(a), len(a), len(b), least)
    exact = len(a & b) / len(a | b) if a | b else 0.0
    if a | b and exact >= least:
        assert found == exact
    else:
        assert found == -1.0


def test_jaccard_of_large_sets() -> None:
    draw = random.Random(0)
    a, b = (set(draw.sample(range(3000), 2000)) for _ in range(2))
    values = np.array([*sorted(a), *sorted(b)], np.uint32)
    assert jaccard_of(values, 0, 2000, 2000, 2000, 0.4) == len(a & b) / len(a | b)
