"""The compiled loops of Word2Vec: each window is one small matrix problem that stays in the first-level cache.

A window has B inputs (context words; with CBOW their mean) and M outputs (the word in the middle and its negatives, or
the nodes on its path in the Huffman tree), shared by all its inputs. Their logits are one product, X Oᵀ (B, M), their
updates two more, E O and Eᵀ X (HogBatch: Ji et al. 2016, arXiv 1604.04661, 1611.06172). The outputs of the next window
are chosen, and asked for from memory, before this one is computed.

Word2Vec: Mikolov et al. 2013, arXiv 1301.3781 and 1310.4546; n-grams of letters: Bojanowski et al. 2017, 1607.04606.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment,operator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lamina.model.vectors.prefetch import touch_row
from lamina.model.vectors.window_kernels import (
    add_row,
    add_rows,
    below,
    clear_row,
    draw_other,
    fast,
    learn,
    logits,
    next_random,
    part,
)

_LOW = np.uint64(0xFFFFFFFF)
_ONE = np.float32(1)


class Weights(NamedTuple):
    """What is learned: ``inputs`` (V + buckets, P) and ``outputs`` (V, or V - 1 nodes; P), float32."""

    inputs: Any
    outputs: Any


class Task(NamedTuple):
    """What is asked, the same for all threads.

    ``keep`` (V) uint32: a word is kept where 32 random bits are below it; ``draw`` (V, 2) uint32: the alias table of
    negatives; ``paths`` and ``codes`` with ``path_ends`` (V + 1): the Huffman tree, empty with negative sampling;
    ``grams`` with ``gram_ends`` (V + 1): the rows whose mean is a word's input, empty without n-grams.
    """

    window: Any
    negatives: Any
    cbow: Any
    keep: Any
    draw: Any
    paths: Any
    codes: Any
    path_ends: Any
    grams: Any
    gram_ends: Any


class Desk(NamedTuple):
    """A thread's own workplace: ``random`` (1) uint64, ``words`` (the longest piece), ``x`` (2 window + 2, P),
    ``d`` (P), ``o`` (M + 1, P), ``rows`` (2, M), ``signs`` and ``e`` ((2 window + 2) M), and ``tally`` (2) float64: the
    loss so far and its pairs."""

    random: Any
    words: Any
    x: Any
    d: Any
    o: Any
    rows: Any
    signs: Any
    e: Any
    tally: Any


@part
def add_input(target, word, inputs, grams, gram_ends):
    """``target`` (P) += the input of ``word``: its row, or the mean of the rows of its n-grams."""
    if len(gram_ends) == 0:
        add_row(target, _ONE, inputs[word])
        return
    share = _ONE / np.float32(gram_ends[word + 1] - gram_ends[word])
    for g in range(gram_ends[word], gram_ends[word + 1]):
        add_row(target, share, inputs[grams[g]])


@part
def move_input(step, word, inputs, grams, gram_ends):
    """Add ``step`` (P) to the row of ``word``, or to the rows of all its n-grams."""
    if len(gram_ends) == 0:
        add_row(inputs[word], _ONE, step)
        return
    for g in range(gram_ends[word], gram_ends[word + 1]):
        add_row(inputs[grams[g]], _ONE, step)


@part
def choose_outputs(word, turn, outputs, task, desk):
    """The outputs of ``word`` into ``desk.rows[turn]``, asked for from memory; how many there are."""
    rows = desk.rows[turn]
    if len(task.path_ends):
        begin = task.path_ends[word]
        count = task.path_ends[word + 1] - begin
        for m in range(count):
            rows[m] = task.paths[begin + m]
    else:
        count = task.negatives + 1
        rows[0] = word
        for m in range(1, count):
            rows[m] = draw_other(word, task.draw, desk.random)
    for m in range(count):
        touch_row(outputs, rows[m])
    return count


@part
def gather_outputs(word, turn, count, outputs, task, desk):
    """Copy the rows that were chosen for ``word`` to ``desk.o``, and set their signs in ``desk.signs[:count]``."""
    tree = len(task.path_ends) > 0
    begin = task.path_ends[word] if tree else 0
    for m in range(count):
        right = task.codes[begin + m] == 0 if tree else m == 0
        desk.signs[m] = _ONE if right else -_ONE
        clear_row(desk.o[m])
        add_row(desk.o[m], _ONE, outputs[desk.rows[turn, m]])


@part
def learn_window(place, begin, end, turn, count, rate, weights, task, desk):
    """One step of learning: the word at ``place`` from the words around it, from ``begin`` to ``end``."""
    around = end - begin - 1
    inputs = 1 if task.cbow else around
    share = _ONE / np.float32(around) if task.cbow else _ONE
    for b in range(inputs):
        clear_row(desk.x[b])
    for b in range(around):
        word = desk.words[begin + b + (begin + b >= place)]
        add_input(desk.x[0 if task.cbow else b], word, weights.inputs, task.grams, task.gram_ends)
    if task.cbow:
        for j in range(desk.x.shape[1]):
            desk.x[0, j] *= share
    gather_outputs(desk.words[place], turn, count, weights.outputs, task, desk)
    for i in range(count, inputs * count):
        desk.signs[i] = desk.signs[i - count]
    logits(desk.x, inputs, desk.o, count, desk.e)
    desk.tally[0] += learn(desk.e, desk.signs, inputs * count, rate)
    desk.tally[1] += inputs
    for b in range(around):
        if b < inputs:
            clear_row(desk.d)
            add_rows(desk.d, desk.e, b * count, 1, desk.o, count)
        word = desk.words[begin + b + (begin + b >= place)]
        move_input(desk.d, word, weights.inputs, task.grams, task.gram_ends)
    for m in range(count):
        add_rows(weights.outputs[desk.rows[turn, m]], desk.e, m, count, desk.x, inputs)


@fast
def learn_pieces(tokens, ends, first, last, rate, weights, task, desk):
    """Learn from the pieces ``first`` to ``last`` of the corpus; piece i has the tokens from ends[i] to ends[i + 1].

    Frequent words are left out at random first, then each word's window is drawn from 1 to ``window``.
    """
    for piece in range(first, last):
        kept = 0
        for i in range(ends[piece], ends[piece + 1]):
            word = tokens[i]
            if np.uint32(next_random(desk.random) & _LOW) <= task.keep[word]:
                desk.words[kept] = word
                kept += 1
        if kept < 2:
            continue
        ahead = choose_outputs(desk.words[0], 0, weights.outputs, task, desk)
        for place in range(kept):
            turn, count = place & 1, ahead
            if place + 1 < kept:
                ahead = choose_outputs(desk.words[place + 1], 1 - turn, weights.outputs, task, desk)
            if place + task.window + 1 < kept:
                touch_row(weights.inputs, desk.words[place + task.window + 1])
            reach = 1 + below(next_random(desk.random), task.window)
            begin, end = max(0, place - reach), min(kept, place + reach + 1)
            learn_window(place, begin, end, turn, count, rate, weights, task, desk)
