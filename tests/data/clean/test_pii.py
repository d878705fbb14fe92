from __future__ import annotations

import json

import pyarrow as pa
import pytest

from lamina.data.clean.frames import DETAIL
from lamina.data.clean.pii import pii


def mask(text: str | None, meta: str | None = None, **parameters: bool) -> dict[str, str | None]:
    row = {"text": text, "title": None, "author": "a@b.org", "meta": meta}
    rows = pa.record_batch({name: pa.array([value], pa.string()) for name, value in row.items()})
    return pii(rows, **parameters).to_pylist()[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("write to jane.doe+x@mail.example.co.uk now", "write to email@example.com now"),
        ("call (808) 782-1557 or 415-555-2671", "call 555-0100 or 555-0100"),
        ("+49 30 901820 and +1 (415) 555-2671", "555-0100 and 555-0100"),
        ("+44 20 7946 0958.", "555-0100."),
    ],
)
def test_masks(text: str, wanted: str) -> None:
    assert mask(text)["text"] == wanted


@pytest.mark.parametrize(
    "text",
    [
        "ISBN 978-3-16-148410-0",
        "on 2021-03-09 at 12:30",
        "1,234,567.89 and 1234567890 and 3.14159265",
        "versions 1.2.3-4567",
        "user@localhost and @mention",
        "a + 12 = 13",
    ],
)
def test_leaves_other_numbers_alone(text: str) -> None:
    assert mask(text)["text"] == text


def test_counts_go_to_the_ledger_and_conversations_are_masked_too() -> None:
    row = mask("a@b.org c@d.org +49 30 901820", '{"messages":[{"role":"user","content":"I am a@b.org"}]}')
    assert json.loads(row[DETAIL]) == {"email": 2, "phone": 1}
    assert row["author"] == "email@example.com"
    assert json.loads(row["meta"])["messages"][0]["content"] == "I am email@example.com"


def test_twice_is_once_and_nothing_is_counted_again() -> None:
    again = mask(mask("a@b.org, (808) 782-1557")["text"])
    assert again["text"] == "email@example.com, 555-0100"
    assert again[DETAIL] is None


def test_each_kind_can_be_left_out() -> None:
    assert mask("a@b.org (808) 782-1557", email=False)["text"] == "a@b.org 555-0100"
    assert mask("a@b.org (808) 782-1557", email=False, phone=False)["text"] == "a@b.org (808) 782-1557"
    assert mask(None)["text"] is None
