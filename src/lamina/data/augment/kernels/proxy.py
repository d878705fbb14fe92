"""A small classifier's training, one document at a time."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled


@compiled
def _scores(weights, features, first, last, out):
    """Class scores of one document whose features count equally; probabilities into ``out`` (K,)."""
    out[:] = 0.0
    scale = 1.0 / np.sqrt(max(1, last - first))
    for k in range(first, last):
        row = weights[features[k]]
        for c in range(len(out)):
            out[c] += row[c]
    out *= scale
    out -= out.max()
    total = 0.0
    for c in range(len(out)):
        out[c] = np.exp(out[c])
        total += out[c]
    out /= total
    return scale


@compiled
def train(features, ends, labels, order, weights, squares, rate):
    """Softmax regression by AdaGrad (Duchi et al. 2011) over the documents in ``order``; ``weights`` (F, K) move."""
    out = np.empty(weights.shape[1], np.float32)
    for d in order:
        first, last = ends[d], ends[d + 1]
        scale = _scores(weights, features, first, last, out)
        out[labels[d]] -= 1.0
        for k in range(first, last):
            f = features[k]
            for c in range(len(out)):
                gradient = out[c] * scale
                squares[f, c] += gradient * gradient
                weights[f, c] -= rate * gradient / np.sqrt(squares[f, c] + 1e-8)


@compiled
def predict(features, ends, weights, found):
    """The likeliest class of each document, (N,)."""
    out = np.empty(weights.shape[1], np.float32)
    for d in range(len(ends) - 1):
        _scores(weights, features, ends[d], ends[d + 1], out)
        found[d] = np.argmax(out)
