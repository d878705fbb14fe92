"""Texts made of some of their lines."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.clean.analysis_kernels.lines import note_at_end
from lamina.kit.numba_cache import compiled, lean


@compiled
def kept_lines(data, lines, ends, kept):
    """The bytes of texts that have only their ``kept`` lines, without notes, and where each text begins, (N + 1,)."""
    texts = len(ends) - 1
    size = 0
    for row in range(len(kept)):
        if kept[row]:
            size += lines[row, 1] - lines[row, 0] + 1
    out, offsets = np.empty(size, np.uint8), np.zeros(texts + 1, np.int64)
    place = 0
    for i in range(texts):
        begin = place
        for row in range(ends[i], ends[i + 1]):
            if not kept[row]:
                continue
            if place > begin:
                out[place] = 10
                place += 1
            place = _copy(data, lines[row, 0], lines[row, 1], out, place)
        while place > begin and (out[place - 1] == 32 or out[place - 1] == 10):
            place -= 1
        offsets[i + 1] = place
    return out[:place], offsets


@lean
def _copy(data, begin, end, out, place):
    """Copy bytes, less notes; where the copy ends."""
    for k in range(begin, end):
        out[place] = data[k]
        place += 1
        if data[k] == 93:
            size = k + 1 - begin
            place -= (k + 1) - note_at_end(data, begin, k + 1) if size > 1 else 0
    return place
