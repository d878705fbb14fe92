"""N-grams beside word vectors: there and back, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lamina.kit.errors import ModelFileError
from lamina.model.vectors.gram_files import place_of, read_with_grams, write_with_grams
from lamina.model.vectors.keyed_vectors import KeyedVectors, Subwords
from lamina.model.vectors.ngrams import Grams

RANDOM = np.random.default_rng(0)
WORDS = KeyedVectors(["sea", "whale"], RANDOM.normal(size=(2, 4)).astype(np.float32))
GRAMS = Subwords(Grams(shortest=2, longest=4, buckets=30), RANDOM.normal(size=(30, 4)).astype(np.float32))


def test_words_never_seen_have_the_same_vectors_after_reading(tmp_path: Path) -> None:
    given = KeyedVectors(WORDS.words, WORDS.vectors, subwords=GRAMS)
    write_with_grams(given, tmp_path / "v.bin")
    found = read_with_grams(tmp_path / "v.bin")
    for word in ("sea", "seas", "x"):
        np.testing.assert_array_equal(found[word], given[word])


def test_other_vectors_in_their_place_have_none(tmp_path: Path) -> None:
    write_with_grams(KeyedVectors(WORDS.words, WORDS.vectors, subwords=GRAMS), tmp_path / "v.bin")
    write_with_grams(WORDS, tmp_path / "v.bin")
    assert read_with_grams(tmp_path / "v.bin").subwords is None


@pytest.mark.parametrize(
    ("table", "metadata"),
    [
        (np.zeros((5, 3), np.float32), {"shortest": "2", "longest": "3"}),
        (np.full((5, 4), np.nan, np.float32), {"shortest": "2", "longest": "3"}),
        (np.zeros((5, 4), np.float32), {"shortest": "2"}),
        (np.zeros((5, 4), np.float32), {"shortest": "3", "longest": "2"}),
        (None, None),
    ],
)
def test_what_is_no_file_of_n_grams_is_refused(tmp_path: Path, table, metadata) -> None:
    write_with_grams(WORDS, tmp_path / "v.bin")
    if table is None:
        place_of(tmp_path / "v.bin").write_bytes(b"nothing of the kind")
    else:
        save_file({"table": table}, place_of(tmp_path / "v.bin"), metadata=metadata)
    with pytest.raises(ModelFileError, match=r"v\.bin\.ngrams"):
        read_with_grams(tmp_path / "v.bin")
