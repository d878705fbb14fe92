from __future__ import annotations

import heapq

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lamina.model.vectors.sampling import alias_table, huffman_tree, keep_shares, thresholds
from lamina.model.vectors.window_kernels import draw_other, draw_word

COUNTS = st.lists(st.integers(1, 10**6), min_size=2, max_size=40).map(lambda c: np.array(sorted(c)[::-1], np.int64))


def chances(table: np.ndarray) -> np.ndarray:
    """The probability of each word that a table stands for."""
    share = table[:, 0] / (2**32 - 1)
    out = share.copy()
    np.add.at(out, table[:, 1], 1 - share)
    return out / len(table)


@given(COUNTS)
def test_negatives_are_drawn_by_count_to_the_power(counts: np.ndarray) -> None:
    weights = counts.astype(float) ** 0.75
    np.testing.assert_allclose(chances(alias_table(counts, 0.75)), weights / weights.sum(), atol=1e-8)


def test_the_compiled_draw_follows_the_table() -> None:
    table = alias_table(np.array([70, 20, 9, 1]), 0.75)
    state = np.array([3], np.uint64)
    drawn = np.bincount([draw_word(table, state) for _ in range(20_000)], minlength=4) / 20_000
    np.testing.assert_allclose(drawn, chances(table), atol=0.015)


@given(COUNTS)
def test_the_tree_is_huffmans(counts: np.ndarray) -> None:
    tree = huffman_tree(counts)
    lengths = np.diff(tree.ends)
    heap, cost = counts.tolist(), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        cost += both
        heapq.heappush(heap, both)
    assert (lengths * counts).sum() == cost
    ways = [tuple(tree.codes[a:b].tolist()) for a, b in zip(tree.ends, tree.ends[1:], strict=False)]
    assert not any(a != b and b[: len(a)] == a for a in ways for b in ways), "no code begins another"
    roots = {int(tree.nodes[a]) for a in tree.ends[:-1]}
    assert roots == {len(counts) - 2}
    assert tree.nodes.min() >= 0
    steps: dict[tuple[int, int], int] = {}
    for a, b in zip(tree.ends[:-1], tree.ends[1:], strict=True):
        for i in range(a, b - 1):
            step = (int(tree.nodes[i]), int(tree.codes[i]))
            assert steps.setdefault(step, int(tree.nodes[i + 1])) == tree.nodes[i + 1], "one node, one child a side"


def test_frequent_words_are_thinned_by_mikolovs_formula() -> None:
    counts = np.array([900, 90, 10])
    shares = keep_shares(counts, 0.01)
    expected = [(np.sqrt(0.9 / 0.01) + 1) * 0.01 / 0.9, (np.sqrt(0.09 / 0.01) + 1) * 0.01 / 0.09, 1.0]
    np.testing.assert_allclose(shares, expected)
    assert keep_shares(counts, None).tolist() == [1, 1, 1]
    assert thresholds(np.array([0.0, 0.5, 1.0])).tolist() == [0, 2**31, 2**32 - 1]


def test_a_word_that_is_nearly_all_there_is_still_has_a_negative() -> None:
    state = np.array([1], np.uint64)
    assert [draw_other(0, alias_table(np.array([10**18, 1]), 1.0), state) for _ in range(5)] == [1] * 5
