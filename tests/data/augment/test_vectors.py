"""Neighbours in a space of word vectors as synonyms and related words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamina.data.augment.vectors import read_neighbours, read_vectors
from lamina.kit.errors import InputError


def written(path: Path, words: list[str], vectors: np.ndarray) -> Path:
    lines = [f"{word} {' '.join(f'{x:.5f}' for x in vector)}" for word, vector in zip(words, vectors, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_neighbours_are_those_of_all_words_not_of_a_block(tmp_path: Path) -> None:
    """Each of 1,200 words (more than two blocks) has one twin far away in the file."""
    draw = np.random.default_rng(0)
    half = draw.normal(size=(600, 16))
    names = [f"{a}{b}{c}" for a in "bcdfghjklm" for b in "aeiouy" for c in "bcdfghjklm"]
    words = [*names, *(name[::-1] + "q" for name in names)]
    path = written(tmp_path / "v.txt", words, np.concatenate([half, half + draw.normal(size=half.shape) * 0.01]))
    found = {entry.word: entry for entry in read_neighbours(path, synonyms=1, related=3, least=0.9)}
    assert len(found) == 1200
    for name in names[::37]:
        assert found[name].synonyms == ((name[::-1] + "q", 0),)
        assert found[name[::-1] + "q"].synonyms == ((name, 0),)
        assert len(found[name].related) == 3
        assert name[::-1] + "q" not in found[name].related


def test_only_close_words_are_synonyms(tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [0.95, 0.3], [0.4, 0.9], [-1, 0]])
    path = written(tmp_path / "v.txt", ["hot", "warm", "mild", "cold"], vectors)
    found = {e.word: e for e in read_neighbours(path)}
    assert found["hot"].synonyms == (("warm", 0),)
    assert found["hot"].related == ("mild", "cold")
    assert {e.word: e.synonyms for e in read_neighbours(path, least=0.0)}["hot"] == (("warm", 0), ("mild", 0))


def test_what_is_no_word_of_a_text_is_left_out(tmp_path: Path) -> None:
    words = ["sea", "ocean", "Sea", "42", "</s>", "well-known", "zero"]
    vectors = np.array([[1, 0], [1, 0.1], [1, 0.05], [1, 0.01], [1, 0.02], [1, 0.2], [0, 0]])
    found = {e.word: [w for w, _ in e.synonyms] for e in read_neighbours(written(tmp_path / "v.txt", words, vectors))}
    assert set(found) == {"sea", "ocean", "well-known"}
    assert found["sea"] == ["ocean", "well-known"]


@pytest.mark.parametrize("content", [b"", b"a 1 2\nb 1\n", b"a x y\n", b"\xff\xfe\x00"])
def test_broken_files_say_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(InputError, match="no word vectors"):
        read_vectors(tmp_path / "v.txt")
    (tmp_path / "v.npz").write_bytes(content)
    with pytest.raises(InputError, match="no word vectors"):
        read_vectors(tmp_path / "v.npz")
