"""C4's phrases, found at a rare letter of theirs, in any case."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamina.kit.numba_cache import lean

LOREM, SCRIPT, POLICY = 1, 2, 4
#: Phrase, the place of its rare letter, its bit.
_PHRASES = (
    ("terms of use", 7, POLICY),
    ("javascript", 0, SCRIPT),
    ("cookie policy", 3, POLICY),
    ("uses cookies", 8, POLICY),
    ("use of cookies", 10, POLICY),
    ("use cookies", 7, POLICY),
    ("lorem ipsum", 4, LOREM),
    ("privacy policy", 3, POLICY),
)  # in the order of those letters
_LENGTHS = np.array([len(phrase) for phrase, _, _ in _PHRASES])
_OFFSETS = np.array([place for _, place, _ in _PHRASES])
_BITS = np.array([bit for _, _, bit in _PHRASES])
_LETTERS = np.zeros((len(_PHRASES), int(_LENGTHS.max())), np.uint8)
for _row, (_phrase, _, _) in enumerate(_PHRASES):
    _LETTERS[_row, : len(_phrase)] = np.frombuffer(_phrase.encode(), np.uint8)


def first_phrases() -> NDArray[np.int64]:
    """Byte b is the rare letter of the phrases from entry b, 0 to entry b, 1; (256, 2)."""
    table = np.zeros((256, 2), np.int64)
    for byte in range(128):
        mine = [row for row, (phrase, place, _) in enumerate(_PHRASES) if phrase[place] == chr(byte).lower()]
        table[byte] = (mine[0], mine[-1] + 1) if mine else (0, 0)
    return table


_FIRST = first_phrases()


@lean
def phrase_at(data, k, begin, end):
    """The bits of the phrases that have their rare letter at byte ``k`` of the text from ``begin`` to ``end``."""
    found = np.int64(0)
    for p in range(_FIRST[data[k], 0], _FIRST[data[k], 1]):
        first = k - _OFFSETS[p]
        if first < begin or first + _LENGTHS[p] > end:
            continue
        n = 0
        while n < _LENGTHS[p]:
            b = data[first + n]
            if (b | 32 if 65 <= b <= 90 else b) != _LETTERS[p, n]:
                break
            n += 1
        if n == _LENGTHS[p]:
            found |= _BITS[p]
    return found
