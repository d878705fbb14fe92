"""The rounds of reproducible training: nothing that was learned is lost or halved, and frequent rows come oftener."""

from __future__ import annotations

import numpy as np

from lamina.model.vectors.rounds import round_of, tiers
from lamina.model.vectors.rows import aligned
from lamina.model.vectors.window_kernels import merge_rows
from lamina.model.vectors.word2vec import Word2VecParameters, _Run
from lamina.model.vectors.word2vec_kernels import Task


def task(**given: list[int]) -> Task:
    none = np.zeros(0, np.int64)
    tables = {name: np.array(given.get(name, none)) for name in ("paths", "path_ends", "grams", "gram_ends")}
    return Task(5, 5, False, none, none, codes=none, **tables)


def test_what_copies_learned_is_added_up() -> None:
    random = np.random.default_rng(0)
    base, copies = aligned((5, 16)), aligned((3, 5, 16))
    base[:] = random.normal(size=base.shape)
    changes = random.normal(size=copies.shape).astype(np.float32)
    changes[1, 2] = changes[0, 2]  # the same thing learned twice is twice as much
    copies[:] = base + changes
    expected, before, apart = base + changes.sum(axis=0), base.copy(), copies.copy()
    merge_rows(base, copies, np.array([4, 2, 0, 1, 3]), 1, 4)
    for row in (2, 0, 1):
        np.testing.assert_allclose(base[row], expected[row], rtol=1e-5, atol=1e-5)
        assert (copies[:, row] == base[row]).all()
    np.testing.assert_array_equal(base[3:], before[3:])
    np.testing.assert_array_equal(copies[:, 3:], apart[:, 3:])


def test_frequent_rows_come_oftener() -> None:
    first, _ = tiers(np.array([0.001, 100.0, 3.0, 0.5]), task(), 4, 4)
    assert first.rows.tolist() == [1, 2, 3, 0]
    assert [first.due(number) for number in (1, 2, 3, 4, 6, 16, 64, 128)] == [1, 2, 1, 2, 2, 3, 4, 4]


def test_n_grams_and_nodes_stand_for_all_their_words() -> None:
    members = {"grams": [0, 2, 1, 2], "gram_ends": [0, 2, 4], "paths": [1, 0, 1], "path_ends": [0, 1, 3]}
    inputs, outputs = tiers(np.array([3.0, 2.5]), task(**members), 3, 2)
    assert inputs.rows[0] == 2, "the gram that both words have"
    assert outputs.rows[0] == 1, "the root"


def test_more_threads_have_shorter_rounds(planted) -> None:
    assert round_of(2) == 3 * round_of(4)
    settings = {"epochs": 1, "reproducible": True}
    steps = [len(_Run(*planted, Word2VecParameters(threads=n, **settings)).shares[0]) for n in (2, 3)]
    assert steps[1] > steps[0]
