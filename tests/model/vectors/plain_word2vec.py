"""Word2Vec in plain numpy, window by window, with the random numbers of the kernels: what they are compared with."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

_MASK = 2**64 - 1


class Random:
    """splitmix64."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def bits(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, limit: int) -> int:
        return ((self.bits() >> 32) * limit) >> 32

    def word(self, table: np.ndarray) -> int:
        bits = self.bits()
        place = ((bits >> 32) * len(table)) >> 32
        return place if bits & 0xFFFFFFFF < table[place, 0] else int(table[place, 1])

    def other(self, word: int, table: np.ndarray) -> int:
        for _ in range(64):
            if (drawn := self.word(table)) != word:
                return drawn
        return (word + 1) % len(table)


def input_rows(task: Any, word: int) -> list[int]:
    """The rows of the input matrix that a word is the mean of."""
    if not len(task.gram_ends):
        return [word]
    return task.grams[task.gram_ends[word] : task.gram_ends[word + 1]].tolist()


def outputs_of(task: Any, word: int, random: Random) -> tuple[list[int], np.ndarray]:
    """Output rows and their signs."""
    if len(task.path_ends):
        way = slice(task.path_ends[word], task.path_ends[word + 1])
        return task.paths[way].tolist(), np.where(task.codes[way] == 0, 1.0, -1.0)
    rows = [word] + [random.other(word, task.draw) for _ in range(task.negatives)]
    return rows, np.array([1.0] + [-1.0] * task.negatives)


def learn(
    tokens: np.ndarray, ends: np.ndarray, rate: float, inputs: np.ndarray, outputs: np.ndarray, task: Any, seed: int
) -> tuple[float, int]:
    """Update both matrices (float64) in place; loss and pairs."""
    random, loss, pairs = Random(seed), 0.0, 0
    for begin, end in pairwise(ends):
        words = [w for w in tokens[begin:end].tolist() if random.bits() & 0xFFFFFFFF <= task.keep[w]]
        if len(words) < 2:
            continue
        ahead = outputs_of(task, words[0], random)
        for place, word in enumerate(words):
            rows, signs = ahead
            if place + 1 < len(words):
                ahead = outputs_of(task, words[place + 1], random)
            reach = 1 + random.below(task.window)
            around = words[max(0, place - reach) : place] + words[place + 1 : place + reach + 1]
            x = np.array([inputs[input_rows(task, w)].mean(axis=0) for w in around])
            groups = [around] if task.cbow else [[w] for w in around]
            if task.cbow:
                x = x.mean(axis=0, keepdims=True)
            o = outputs[rows].copy()
            z = x @ o.T * signs
            loss += float(np.logaddexp(0, -z).sum())
            pairs += len(x)
            e = rate * signs / (1 + np.exp(z))
            for group, step in zip(groups, e @ o, strict=True):
                for w in group:
                    for row in input_rows(task, w):
                        inputs[row] += step
            for row, step in zip(rows, e.T @ x, strict=True):
                outputs[row] += step
            assert word in rows or len(task.path_ends)
    return loss, pairs
