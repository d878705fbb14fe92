from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.missing import missing
from lamina.kit.errors import ConfigError


def batch(**columns: list[Any]) -> pa.RecordBatch:
    rows = len(next(iter(columns.values())))
    given = {"id": [str(i) for i in range(rows)], "source": ["s"] * rows} | columns
    return pa.RecordBatch.from_arrays(
        [pa.array(given.get(f.name, [None] * rows), f.type) for f in DOCUMENTS], schema=DOCUMENTS
    )


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# The Pulpit #\n\nLike most old fashioned", "The Pulpit"),
        ("intro\n\n## Setup\ntext", "Setup"),
        ("Loomings\n\nCall me Ishmael.", "Loomings"),
        ("Call me Ishmael. Some years ago\nhe said", "Call me Ishmael. Some years ago"),
        ("Call me Ishmael.\nSome years ago", None),  # ends like a sentence
        ("Anna: hello\nBen: hi", None),  # somebody speaks
        ("- milk\n- eggs", None),
        ("just one line", None),
        ("x" * 200 + "\ntext", None),
    ],
)
def test_title_from_heading_or_first_line(text: str, title: str | None) -> None:
    assert missing(batch(text=[text])).column("title").to_pylist() == [title]


def test_what_is_there_stays_and_a_conversation_gets_no_title() -> None:
    rows = batch(text=["Heading\ntext", "Hi there\nhello"], title=["Mine", None], meta=[None, '{"messages": []}'])
    assert missing(rows).column("title").to_pylist() == ["Mine", None]


def test_created_from_meta_or_url() -> None:
    rows = batch(
        text=["a"] * 6,
        url=[
            None,
            "https://x.org/2021/03/09/post",
            "https://x.org/log-2020-12-31.html",
            "https://x.org/19991",
            None,
            None,
        ],
        meta=['{"published": "2019-05-01T10:30:00Z"}', None, None, None, "not JSON", '{"date": "2020-02-31"}'],
    )
    found = missing(rows, derive=("created",)).column("created").to_pylist()
    assert found == [
        datetime(2019, 5, 1, 10, 30, tzinfo=UTC),
        datetime(2021, 3, 9, tzinfo=UTC),
        datetime(2020, 12, 31, tzinfo=UTC),
        None,
        None,
        None,
    ]


def test_language_by_detection_and_a_default() -> None:
    rows = batch(text=["Der Wal taucht langsam auf und atmet.", "", "The whale"], language=[None, None, "en"])
    filled = missing(rows, derive=("language",), default={"license": "CC0-1.0", "language": "und"})
    assert filled.column("language").to_pylist() == ["de", "und", "en"]
    assert filled.column("license").to_pylist() == ["CC0-1.0"] * 3


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="'colour'"):
        missing(batch(text=["a"]), default={"colour": "red"})
    with pytest.raises(ConfigError, match="'id'"):
        missing(batch(text=["a"]), default={"id": "x"})
    with pytest.raises(ConfigError, match="'colour'"):
        missing(batch(text=["a"]), require=("colour",))
