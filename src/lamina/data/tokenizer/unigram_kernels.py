"""The compiled loops of a Unigram model's training (Kudo 2018, arXiv:1804.10959).

Words are ``points``, characters by number, with a 0 behind each word, and ``begins`` (W + 1). The pieces are a tree:
``keys`` and ``children`` are a table from node and character to node, ``piece_of`` (nodes) is the piece that ends in
a node, or -1; node 0 is the root.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled

LONGEST = 16  # characters of a piece, as in SentencePiece
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_CHARACTER = np.uint64(1 << 21)  # more than there are
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)
_NEVER = -1e30


@compiled
def common(points, order, shared):
    """Characters that each stretch has in common with the one before it in ``order``, at most ``LONGEST``."""
    for i in range(1, len(order)):
        a, b = order[i - 1], order[i]
        n = 0
        while n < LONGEST and points[a + n] == points[b + n] and points[a + n] != 0:
            n += 1
        shared[i] = n


@compiled
def repeated(points, order, shared, before, begins, sizes, weights):
    """Stretches that stand in the text twice or oftener, each as long as it can be: begin, size and how often.

    ``before`` (N + 1): counts of the words of the stretches in ``order``, summed up. Returns how many there are, at
    most 2 N: those that stand in several places, and the ends of words that are there several times.
    """
    found, depth = 0, 0
    heights, lefts = np.zeros(LONGEST + 2, np.int64), np.zeros(LONGEST + 2, np.int64)
    for i in range(1, len(order) + 1):
        height = shared[i] if i < len(order) else 0
        alone = 0
        while alone < LONGEST and points[order[i - 1] + alone] != 0:
            alone += 1
        if alone > max(height, shared[i - 1]) and before[i] - before[i - 1] > 1:
            begins[found], sizes[found], weights[found] = order[i - 1], alone, before[i] - before[i - 1]
            found += 1
        left = i - 1
        while depth > 0 and heights[depth - 1] > height:
            depth -= 1
            left = lefts[depth]
            begins[found], sizes[found] = order[left], heights[depth]
            weights[found] = before[i] - before[left]
            found += 1
        if height > 0 and (depth == 0 or heights[depth - 1] < height):
            heights[depth], lefts[depth] = height, left
            depth += 1
    return found


@compiled
def _child(node, point, keys, children):
    """The node behind ``node`` for a character, or -1; and the slot where it stands or would."""
    key = np.uint64(node) * _CHARACTER + np.uint64(point)
    mask = np.uint64(len(keys) - 1)
    slot = key * _MIX
    slot = (slot ^ (slot >> _SHIFT)) & mask
    while keys[slot] != _FREE and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return (children[slot] if keys[slot] == key else np.int32(-1)), slot


@compiled
def tree(points, begins, sizes, keys, children, piece_of):
    """Put pieces (stretches of ``points``) into empty tables; returns the number of nodes."""
    nodes = 1
    for p in range(len(begins)):
        node = np.int32(0)
        for k in range(begins[p], begins[p] + sizes[p]):
            child, slot = _child(node, points[k], keys, children)
            if child < 0:
                child = np.int32(nodes)
                keys[slot] = np.uint64(node) * _CHARACTER + np.uint64(points[k])
                children[slot] = child
                nodes += 1
            node = child
        piece_of[node] = p
    return nodes


@compiled
def expect(points, begins, counts, first, last, pieces, scores, expected):
    """Forward and backward over words ``first`` to ``last``: adds to ``expected`` (P) how often each piece is expected;
    returns the log likelihood."""
    keys, children, piece_of = pieces
    longest = 0
    for w in range(first, last):
        longest = max(longest, begins[w + 1] - begins[w] - 1)
    forward, backward = np.empty(longest + 1), np.empty(longest + 1)
    room = longest * LONGEST
    froms, tos, which = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    total = 0.0
    for w in range(first, last):
        begin, n = begins[w], begins[w + 1] - begins[w] - 1
        forward[: n + 1], backward[: n + 1] = _NEVER, _NEVER
        forward[0], backward[n] = 0.0, 0.0
        edges = 0
        for i in range(n):
            if forward[i] == _NEVER:
                continue
            node = np.int32(0)
            for j in range(i, min(i + LONGEST, n)):
                node, _ = _child(node, points[begin + j], keys, children)
                if node < 0:
                    break
                piece = piece_of[node]
                if piece >= 0:
                    froms[edges], tos[edges], which[edges] = i, j + 1, piece
                    edges += 1
                    forward[j + 1] = _either(forward[j + 1], forward[i] + scores[piece])
        whole = forward[n]
        for e in range(edges - 1, -1, -1):
            backward[froms[e]] = _either(backward[froms[e]], backward[tos[e]] + scores[which[e]])
        for e in range(edges):
            at = forward[froms[e]] + scores[which[e]] + backward[tos[e]] - whole
            if at > -40.0:
                expected[which[e]] += counts[w] * np.exp(at)
        total += counts[w] * whole
    return total


@compiled
def _either(a, b):
    """log(exp(a) + exp(b))."""
    high, low = (a, b) if a > b else (b, a)
    return high if low - high < -40.0 else high + np.log1p(np.exp(low - high))


@compiled
def best(points, begin, n, pieces, scores, apart, value, back):
    """The likeliest way to write n characters in pieces without piece ``apart``: ``back[j]`` is where the piece that
    ends at j begins. Returns its score."""
    keys, children, piece_of = pieces
    value[: n + 1] = _NEVER
    value[0] = 0.0
    for i in range(n):
        if value[i] == _NEVER:
            continue
        node = np.int32(0)
        for j in range(i, min(i + LONGEST, n)):
            node, _ = _child(node, points[begin + j], keys, children)
            if node < 0:
                break
            piece = piece_of[node]
            if piece >= 0 and piece != apart and value[i] + scores[piece] > value[j + 1]:
                value[j + 1] = value[i] + scores[piece]
                back[j + 1, 0], back[j + 1, 1] = i, piece
    return value[n]


@compiled
def used(points, begins, counts, pieces, scores, often):
    """How often each piece is in the likeliest writing of the words, added to ``often`` (P)."""
    longest = 0
    for w in range(len(counts)):
        longest = max(longest, begins[w + 1] - begins[w] - 1)
    value, back = np.empty(longest + 1), np.empty((longest + 1, 2), np.int32)
    for w in range(len(counts)):
        n = begins[w + 1] - begins[w] - 1
        best(points, begins[w], n, pieces, scores, -1, value, back)
        while n > 0:
            often[back[n, 1]] += counts[w]
            n = back[n, 0]


@compiled
def losses(points, begins, sizes, pieces, scores, often, out):
    """What each piece is worth: the log likelihood that is lost when the next best pieces stand for it; infinite for
    single characters, -1 for those that the others say better anyway."""
    value, back = np.empty(LONGEST + 1), np.empty((LONGEST + 1, 2), np.int32)
    total = often.sum()
    for p in range(len(begins)):
        n = sizes[p]
        if n == 1:
            out[p] = np.inf
            continue
        instead = best(points, begins[p], n, pieces, scores, p, value, back)
        if instead >= scores[p] or often[p] == 0:
            out[p] = -1.0
            continue
        parts = 0
        while n > 0:
            parts += 1
            n = back[n, 0]
        n = sizes[p]
        log_total = np.log(total + often[p] * (parts - 1))
        apart = 0.0
        while n > 0:
            apart += np.log(often[back[n, 1]] + often[p]) - log_total
            n = back[n, 0]
        out[p] = often[p] / total * (np.log(often[p]) - np.log(total) - apart)
