"""Licences and reservations as columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.rights import reservations, rights


def run(rows: list[dict[str, Any]], **parameters: Any) -> list[dict[str, Any]]:
    whole = [
        {"id": str(n), "source": "s", "collected": datetime(2026, 1, 2, tzinfo=UTC)} | r for n, r in enumerate(rows)
    ]
    batch = pa.RecordBatch.from_pylist(whole, schema=DOCUMENTS)
    found = rights(batch, **parameters)
    assert found.schema.names[: len(DOCUMENTS)] == DOCUMENTS.names
    assert found.select(DOCUMENTS.names).equals(batch)
    return list(found.to_pylist())


@pytest.mark.parametrize(
    ("license", "spdx", "opened"),
    [
        ("CC-BY-4.0", "CC-BY-4.0", True),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0", False),
        ("CC-BY-ND-3.0", "CC-BY-ND-3.0", False),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0", True),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0", True),
        ("MIT AND CC-BY-NC-4.0", "MIT AND CC-BY-NC-4.0", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-3.0-or-later", "GPL-3.0-or-later", True),
        ("BSD-3-Clause", "BSD-3-Clause", True),
        ("PSF-2.0", "PSF-2.0", True),
        ("© 2024 Somebody. All rights reserved.", None, None),
        ("house rules", None, None),
        (None, None, None),
    ],
)
def test_licences(license: str | None, spdx: str | None, opened: bool | None) -> None:
    (row,) = run([{"license": license}])
    assert (row["license_spdx"], row["license_known"], row["license_open"]) == (spdx, spdx is not None, opened)


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        ("tdm-reservation: 1; tdm-policy: https://x.example/p", "tdm"),
        ("tdm-reservation: 0", None),
        ("content-signal: search=yes, ai-train=no", "signal"),
        ("content-signal: search=no, ai-train=yes", None),
        ("content-usage: train-ai=n", "signal"),
        ("robots: noai, noindex", "noai"),
        ("x-robots-tag: noai", "noai"),
        ("robots: noimageai", None),
        ("x-robots-tag: unavailable_after: 25 Jun 2010 15:00:00 PST", "expired"),
        ("x-robots-tag: unavailable_after: 2010-06-25", "expired"),
        ("x-robots-tag: unavailable_after: 25 Jun 2040 15:00:00 PST", None),
        ("x-robots-tag: unavailable_after: whenever", None),
        ("disallowed: GPTBot, CCBot", "agents"),
        ("robots: index, follow", None),
        (None, None),
    ],
)
def test_reservations(words: str | None, reasons: str | None) -> None:
    (row,) = run([{"rights": words}])
    assert (row["rights_reserved"], row["rights_reason"]) == (reasons is not None, reasons)


def test_the_user_says_what_counts() -> None:
    rows = [{"rights": "tdm-reservation: 1"}, {"rights": "disallowed: GPTBot"}]
    assert [row["rights_reserved"] for row in run(rows, reserved_by=("tdm",))] == [True, False]
    assert [row["rights_reserved"] for row in run(rows, reserved_by=())] == [False, False]


def test_a_decision_on_it() -> None:
    rows = [{"license": "MIT"}, {"license": "MIT", "rights": "robots: noai"}, {"license": None}]
    frame = pl.DataFrame(run(rows))
    kept = frame.filter(pl.sql_expr("license_known AND NOT rights_reserved"))
    assert kept["id"].to_list() == ["0"]


def test_nothing_and_everything() -> None:
    assert run([]) == []
    everything = "; ".join(("tdm-reservation: 1", "content-signal: ai-train=no", "robots: noai", "disallowed: CCBot"))
    assert reservations(everything) == ("tdm", "signal", "noai", "agents")
