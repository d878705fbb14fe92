from __future__ import annotations

import numpy as np
import pytest

from lamina.kit.errors import InputError
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.tables import coverage, embedding_table

WORDS = ["the", "nation", "national", "cat", "dog", "Ġsat"]
PIECES = ["the", "Ġnation", "##tion", "▁Cat", "Ġsat", "zz", "q", "<s>"]


@pytest.fixture
def vectors() -> KeyedVectors:
    rows = np.random.default_rng(0).normal(0, 3, (6, 12)).astype(np.float32)
    return KeyedVectors(WORDS, rows, counts=np.array([50, 30, 10, 5, 4, 3]))


def test_pieces_take_words_then_parts_of_words_then_chance(vectors: KeyedVectors) -> None:
    found = coverage(vectors, PIECES)
    assert (found.pieces, found.exact, found.parts) == (8, 4, 1)
    assert "3 neither" in str(found)
    table = embedding_table(vectors, PIECES, 12, std=0.02, seed=1)
    assert table.shape == (8, 12)
    assert table.dtype == np.float32
    part = (vectors["nation"] * 30 + vectors["national"] * 10) / 40
    rows = np.stack([vectors["the"], vectors["nation"], part, vectors["cat"], vectors["Ġsat"]])
    rows -= rows.mean(axis=0)
    np.testing.assert_allclose(table[:5], rows * (0.02 / rows.std()), atol=1e-6)
    assert table[:5].std() == pytest.approx(0.02, rel=1e-4)
    assert 0.01 < table[5:].std() < 0.03
    assert embedding_table(vectors, PIECES, 12, seed=1).tobytes() == table.tobytes()
    assert embedding_table(vectors, PIECES, 12, seed=2)[:5].tobytes() == table[:5].tobytes(), (
        "only chance depends on it"
    )


def test_a_wider_table_is_filled_in_part_and_a_narrower_one_keeps_the_main_axes(vectors: KeyedVectors) -> None:
    wide = embedding_table(vectors, PIECES, 16, std=0.1)
    assert wide[:, 12:].std() == pytest.approx(0.1, rel=0.5)
    exact = embedding_table(vectors, PIECES, 12, std=0.1)
    np.testing.assert_allclose(wide[:5, :12], exact[:5])
    narrow = embedding_table(vectors, PIECES, 4, std=0.1)
    assert narrow.shape == (8, 4)
    # Five centred rows span four dimensions: nothing is lost but a rotation.
    gram = narrow[:5] @ narrow[:5].T
    np.testing.assert_allclose(gram / gram[0, 0], (exact[:5] @ exact[:5].T) / (exact[0] @ exact[0]), atol=1e-4)


def test_without_any_match_the_table_is_random(vectors: KeyedVectors) -> None:
    table = embedding_table(vectors, ["zzz"] * 500, 8, std=0.5)
    assert table.std() == pytest.approx(0.5, rel=0.1)
    with pytest.raises(InputError, match="width 0"):
        embedding_table(vectors, PIECES, 0)
