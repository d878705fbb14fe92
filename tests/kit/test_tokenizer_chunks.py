from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamina.kit.tokenizer_chunks import (
    APOSTROPHE,
    DIGIT,
    LETTER,
    MARK,
    OTHER,
    SPACE,
    SPACES,
    WHITE,
    cuts_of,
    kind_of,
)

# That cutting changes no id is tested where it is done: tests/data/tokenizer/test_encode.py.


def file(*steps: dict[str, Any], model: str = "BPE", added: tuple[dict[str, Any], ...] = (), **more: Any) -> Any:
    return {
        "model": {"type": model, **more.pop("options", {})},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)},
        "added_tokens": [{"content": "<|end|>", "special": True}, *added],
        **more,
    }


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
BERT = {"type": "BertPreTokenizer"}
META = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


def test_kinds() -> None:
    kinds = [kind_of(c) for c in "aZ5'.< \n\té\x00\x7f\v"]
    expected = [LETTER, LETTER, DIGIT, APOSTROPHE, MARK, MARK, SPACE, WHITE, WHITE, OTHER, OTHER, OTHER, OTHER]
    assert kinds == expected


def test_finer_cuts_where_the_kind_is_known() -> None:
    byte, bert = cuts_of(file(BYTES)), cuts_of(file(BERT, model="WordPiece"))
    assert byte is not None
    assert bert is not None
    assert byte[LETTER, MARK]
    assert not byte[APOSTROPHE, LETTER], "'s is one token"
    assert not byte[SPACE, LETTER]
    assert not byte[DIGIT, DIGIT]
    assert bert[MARK, MARK]
    assert not bert[LETTER, DIGIT]
    digits = cuts_of(file({"type": "Digits", "individual_digits": True}, BYTES))
    assert digits is not None
    assert digits[DIGIT, DIGIT]


@pytest.mark.parametrize(
    ("parsed", "why"),
    [
        (file(META), "spaces only"),
        (file(BYTES, added=({"content": "<think>", "special": False},)), "an added token must stay whole"),
        (file(BYTES, options={"ignore_merges": True}), "a control token that is spelled is cut as a whole"),
        (file({"type": "Whitespace"}), "spaces only"),
    ],
)
def test_only_before_spaces(parsed: Any, why: str) -> None:
    found = cuts_of(parsed)
    assert found is not None, why
    assert np.array_equal(found, SPACES), why


@pytest.mark.parametrize(
    "parsed",
    [
        file(),
        file({"type": "ByteLevel", "use_regex": False}),
        file({"type": "Split", "pattern": {"Regex": r"\w+\s"}, "behavior": "Isolated", "invert": False}, BYTES),
        file({"type": "Punctuation", "behavior": "MergedWithNext"}, BYTES),
        file({"type": "Digits"}, META),
        file(META, added=({"content": "<think>", "special": False},)),
        file(BYTES, added=({"content": "a b", "special": False},)),
        file(BYTES, added=({"content": "x", "special": False, "lstrip": True},)),
        file(BYTES, options={"dropout": 0.1}),
        file(BYTES, normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
        file(BYTES, normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "StripAccents"}]}),
    ],
)
def test_nowhere_where_it_is_not_known(parsed: Any) -> None:
    assert cuts_of(parsed) is None
