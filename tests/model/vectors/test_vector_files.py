from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.kit.errors import InputError, ModelFileError
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.vector_files import read_vectors, write_vectors

LETTER = st.characters(exclude_categories=["Zs", "Zl", "Zp", "Cc", "Cs"])
WORDS = st.lists(st.text(LETTER, min_size=1, max_size=12).filter(lambda w: not any(c.isspace() for c in w)), min_size=1)
SETTINGS = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("form", ["text", "binary"])
def test_what_is_written_is_read_bit_for_bit(tmp_path: Path, form: str) -> None:
    path = tmp_path / "file.vec"

    @SETTINGS
    @given(WORDS.map(lambda w: list(dict.fromkeys(w))), st.integers(1, 9), st.integers(0, 2**32 - 1))
    def check(words: list[str], width: int, seed: int) -> None:
        bits = np.random.default_rng(seed).integers(0, 2**32, (len(words), width), np.uint32)
        rows = np.where(np.isfinite(bits.view(np.float32)), bits.view(np.float32), np.float32(-0.0))
        write_vectors(KeyedVectors(words, rows), path, form=form)  # type: ignore[arg-type]
        for read in (read_vectors(path, form=form), read_vectors(path)):  # type: ignore[arg-type]
            assert read.words == words
            assert read.vectors.tobytes() == rows.tobytes()
        assert read_vectors(path, limit=1).words == words[:1]

    check()


def test_files_as_others_write_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    rows = np.array([[1, 2], [3, 4]], "<f4")
    path.write_bytes(b"2 2\na " + rows[0].tobytes() + b"b\xc3\xa9 " + rows[1].tobytes())  # gensim: no newlines
    assert read_vectors(path).words == ["a", "bé"]
    path.write_bytes(b"a 1.0 2.0\nb 3 4e0 \n")  # GloVe: no head
    np.testing.assert_array_equal(read_vectors(path).vectors, rows)
    path.write_bytes(b"2 2\r\na 1 2\r\nb 3 4\r\n")
    np.testing.assert_array_equal(read_vectors(path).vectors, rows)


VECTOR = np.array([1, 2], "<f4").tobytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no vectors"),
        (b"2 2\na 1 2\n", "1 words, where the first line says 2"),
        (b"2 2\na 1 2\nb 3\n", ":3: a word and 2 numbers are expected, not 2 fields"),
        (b"2 2\na 1 2\nb 3 x\n", ":3: a number cannot be read"),
        (b"2 2\na 1 2\na 3 4\n", "'a' stands twice"),
        (b"2 2\na 1 2\nb 3 nan\n", "vector of 'b' has a number that is not finite"),
        (b"2 2\na 1 2\n\xff 3 4\n", ":3: a word is not UTF-8"),
        (b"2 2\na 1 2\n 3 4\n", ":3: a word is empty"),
        (b"9000000000 300\na " + VECTOR, "too short for 9,000,000,000 vectors"),
        (b"2 2\na " + VECTOR + b"b" + VECTOR, "too short for 2 vectors"),
        (b"1 2\n" + b"a" * 5000 + b" " + VECTOR, "byte 4: word 1 of 1 breaks off or is too long"),
        (b"1 2\na " + VECTOR + b"b " + VECTOR, "byte 14: goes on after its 1 words"),
        (b"1 2\na " + np.array([1, np.inf], "<f4").tobytes(), "not finite"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=says):
        read_vectors(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_vectors(tmp_path / "none")


@pytest.mark.parametrize("word", ["", "two words", "tab\tbed", "line\n", "x" * 5000])
def test_words_that_the_formats_cannot_hold(tmp_path: Path, word: str) -> None:
    with pytest.raises(InputError, match="cannot hold"):
        write_vectors(KeyedVectors([word], np.zeros((1, 2), np.float32)), tmp_path / "file")
    assert not (tmp_path / "file").exists()
