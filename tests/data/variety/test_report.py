"""The section of the corpus' page."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lamina.data.report_variety import variety_section
from lamina.data.variety.measure import write_variety

Corpus = Callable[..., Path]
Rows = Callable[..., list[dict[str, Any]]]


def test_shares_map_and_mixture(corpus: Corpus, mixed: Rows) -> None:
    rows = [r | {"author": "<b>Ahab</b>" if n < 80 else "Ishmael"} for n, r in enumerate(mixed())]
    folder = corpus(rows)
    write_variety(folder)
    group = {"name": "sea & <salt>", "tokens": 1200, "natural": 0.9, "share": 0.5, "epochs": 2.5}
    mixture = {"by": "source", "how": "uniform", "groups": [group], "notes": ["the run is long"]}
    page = variety_section(folder, mixture=mixture)
    tags: list[str] = []

    class Seen(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not {name for name, _ in attrs} & {"src", "href", "onload"}

    Seen().feed(page)
    assert tags.count("circle") == 3  # a disc a topic
    assert not {"script", "salt"} & set(tags)
    assert "&lt;b&gt;Ahab&lt;/b&gt;" in page
    assert "sea &amp; &lt;salt&gt;" in page
    assert "2.50" in page
    assert "the run is long" in page
    assert "one author, " in page


def test_nothing_where_nothing_was_measured(tmp_path: Path) -> None:
    assert variety_section(tmp_path) == ""


def test_training_tokens_have_a_column(corpus: Corpus, mixed: Rows) -> None:
    found = write_variety(corpus(mixed()))
    assert "training tokens" not in variety_section(Path(), variety=found)
    for share in found["shares"].values():
        for group in share["groups"]:
            group["tokens"] = 10
    assert "training tokens" in variety_section(Path(), variety=found | {"tokens": 30})
