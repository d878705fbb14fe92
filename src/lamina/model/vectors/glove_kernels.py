"""The compiled loops of GloVe: AdaGrad on pairs of words (Pennington et al. 2014; Duchi et al. 2011).

What is learned of a word is a row (2, P): its vector, then the sums of its squared steps. The vector ends with two
numbers: of a word its bias and 1, of a context 1 and its bias, so that one product is w · c + b + b'. Biases learn at
the rate 1, as in the authors' program: they take up how frequent a word is, and leave the vectors what it means.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment,operator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.kit import numba_cache
from lamina.model.vectors.prefetch import touch

# Sums of floats in any order, and roots by approximation and one correction; NaN and infinity keep their meaning.
fast: Any = numba_cache.keeping(fastmath={"reassoc", "contract", "arcp", "nsz", "afn"}, error_model="numpy", _nrt=False)

_AHEAD = 4  # records
_CLIP = np.float32(100)  # of a gradient, as in the authors' program
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@fast
def learn_records(records, first, last, swapped, rate, width, words, contexts, tally):
    """Learn from ``records[first:last]`` (row, column, log, weight): rows as words, columns as contexts, or swapped.

    ``words`` and ``contexts`` (V, 2 P); ``width`` is that of the vectors alone. ``tally`` (2) float64 gets the loss,
    weight (w · c + b + b' - log)² / 2 a pair, and the number of pairs. A word's pair with itself counts once.
    """
    half = words.shape[1] >> 5 << 4
    for n in range(first, last):
        if n + _AHEAD < last:
            i, j = records[n + _AHEAD].row, records[n + _AHEAD].column
            if swapped:
                i, j = j, i
            for line in range(0, words.shape[1], 16):
                touch(words, i, line)
                touch(contexts, j, line)
        i, j = records[n].row, records[n].column
        if swapped:
            if i == j:
                continue
            i, j = j, i
        w, w_squares = words[i, :half], words[i, half:]
        c, c_squares = contexts[j, :half], contexts[j, half:]
        error = _ZERO
        for k in range(half):
            error += w[k] * c[k]
        error -= records[n].log
        slope = records[n].weight * error
        tally[0] += _HALF * slope * error
        tally[1] += 1
        word_bias, word_square = w[width], w_squares[width]
        context_bias, context_square = c[width + 1], c_squares[width + 1]
        for k in range(half):
            a = max(min(slope * c[k], _CLIP), -_CLIP) * rate
            b = max(min(slope * w[k], _CLIP), -_CLIP) * rate
            w[k] -= a / np.sqrt(w_squares[k])
            c[k] -= b / np.sqrt(c_squares[k])
            w_squares[k] += a * a
            c_squares[k] += b * b
        w[width], w_squares[width] = word_bias - slope / np.sqrt(word_square), word_square + slope * slope
        c[width + 1] = context_bias - slope / np.sqrt(context_square)
        c_squares[width + 1] = context_square + slope * slope
        w[width + 1], c[width] = _ONE, _ONE
