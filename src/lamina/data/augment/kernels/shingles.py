"""Hashes of word n-grams, of words that are hashed already."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.augment.kernels.scan import mix
from lamina.kit.numba_cache import compiled


@compiled
def shingles(hashes, token_ends, n, out, out_ends):
    """Each text's n-grams into ``out`` (T,), text i from ``out_ends[i]``; fewer than n words are one n-gram."""
    count = 0
    for d in range(len(token_ends) - 1):
        out_ends[d] = count
        width = min(n, token_ends[d + 1] - token_ends[d])
        for i in range(token_ends[d], token_ends[d + 1] - width + 1 if width else token_ends[d]):
            h = np.uint64(0)
            for k in range(i, i + width):
                h = h * np.uint64(0x9E3779B97F4A7C15) + hashes[k]
            out[count] = mix(h)
            count += 1
    out_ends[len(token_ends) - 1] = count
    return count
