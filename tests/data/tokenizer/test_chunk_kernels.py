"""No text is cut between white space and white space, whatever kind it is, in any Unicode form."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np

from lamina.data.tokenizer.chunk_kernels import cut_before
from lamina.kit.tokenizer_chunks import OTHER, SPACES, kind_of

KINDS = np.array([kind_of(chr(byte)) if byte < 0x80 else OTHER for byte in range(256)])


def cut_before_a_space(text: str) -> bool:
    data = np.frombuffer(f"{text} x".encode(), np.uint8)
    return bool(cut_before(data, 0, len(text.encode()), KINDS, SPACES))


def test_no_cut_behind_what_is_or_becomes_white_space() -> None:
    for point in range(sys.maxunicode + 1):
        c = chr(point)
        if not (c.isspace() or unicodedata.decomposition(c) or unicodedata.category(c) == "Cc"):
            continue  # it stays what it is
        forms = [c, *(unicodedata.normalize(form, c) for form in ("NFC", "NFD", "NFKC", "NFKD"))]
        if any(form[-1:].isspace() for form in forms) or unicodedata.category(c) == "Cc":
            assert not cut_before_a_space(f"a{c}"), hex(point)


def test_a_cut_behind_letters_of_any_script() -> None:
    for c in "az09.,'é߿ࠀḀ‐₀日本가🐋𐍈":
        assert cut_before_a_space(c), c
        assert cut_before_a_space(f"x{c}"), c
