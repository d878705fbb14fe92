from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.report_page import report_page
from lamina.kit.progress import open_progress

STEPS: list[dict[str, Any]] = [
    {"signal": "quality"},
    {"decide": "words >= 5", "reason": "<short> & small"},
    {"pass": "duplicates", "threshold": 0.8},
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    texts = {
        "a.txt": "<script>alert('whale')</script> swam by the ship at dawn",
        "b.txt": "A second text about rope and salt and tar",
        "c.txt": "A second text about rope and salt and tar",
        "d.txt": "no",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    files = tuple(SourceFile(name=name, path=folder / name) for name in texts)
    out = folder / "corpus"
    out.mkdir()
    source = SourceInput(name="notes & more", use="files", files=files)
    build_corpus(out, folder / "work", sources=[source], steps=STEPS, held_out=0.0, progress=open_progress("quiet"))
    return report_page(out)


def test_it_is_whole_html_without_scripts_or_addresses(page: str) -> None:
    tags: list[str] = []

    class Seen(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not {name for name, _ in attrs} & {"src", "href", "onload"}

    Seen().feed(page)
    assert "script" not in tags
    assert tags.count("html") == 1
    assert "svg" in tags
    assert "&lt;script&gt;alert(&#x27;whale&#x27;)" in page


def test_it_tells_what_was_kept_dropped_and_folded(page: str) -> None:
    assert "<h1>2 documents</h1>" in page
    assert "notes &amp; more" in page
    assert "&lt;short&gt; &amp; small" in page
    assert "1 documents were folded into 1 others" in page
    assert "source &#x27;notes &amp; more&#x27; has no licence recorded" in page
    assert "Missing data" in page
