from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lamina.data.augment.eda import deletion
from lamina.data.augment.noise import noise
from lamina.data.augment.protect import protected_spans, read_terms
from lamina.kit.errors import ConfigError

Make = Callable[..., pa.RecordBatch]
SPANS = [
    "https://example.org/the/quick?fox=a%20b&c=d#e",
    "www.example.org/path",
    "first.last+tag@mail.example.co.uk",
    "@someone@example.social",
    "#hashtag",
    "`pip install lamina`",
    "<b class='x'>",
    "&nbsp;",
    "{placeholder}",
    "{{ user.name }}",
    "${HOME}",
    "%(name)s",
    "[EMAIL]",
    "<|im_start|>",
    "$x + y = z$",
    "\\alpha",
    "](https://example.org)",
    "3.14",
    "2019-05-01",
    "10,000",
    "B2B",
    "foo_bar",
    "camelCase",
    "os.path.join",
    "call(argument)",
    "src/lamina/data",
    "New York",
    "NASA",
    "John Smith",
    "McDonald",
    "O'Neil",
    "C++",
]


@pytest.mark.parametrize("span", SPANS)
def test_spans_are_in_every_child(make: Make, span: str) -> None:
    text = f"we walked along and then {span} was there for all of us to see"
    batch = make(*[text] * 20)
    for table in (deletion(batch, alpha=0.9), noise(batch, rate=1.0, kinds=("keyboard", "ocr", "spelling", "case"))):
        assert table.num_rows
        assert all(span in child for child in table["text"].to_pylist())


BLOCKS = [
    "```python\nfor word in words:\n    print(word)\n```",
    "~~~\nsome code here\n~~~",
    "    int main() {\n        return here;\n    }",
    "$$\nsome formula here\n$$",
]


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_are_in_every_child(make: Make, block: str) -> None:
    text = f"some words stand before the block\n\n{block}\n\nand some words stand behind the block"
    batch = make(*[text] * 20)
    for table in (deletion(batch, alpha=0.9), noise(batch, rate=1.0)):
        assert table.num_rows
        assert all(block in child for child in table["text"].to_pylist())


def test_indented_prose_is_no_code() -> None:
    assert protected_spans("A poem:\n\n    the sea was calm\n    that night\n\nso it went") == []


def test_an_unclosed_fence_protects_to_the_end() -> None:
    assert protected_spans("text\n```\ncode code") == [(5, 18)]


def test_terms_and_glossary_are_kept(make: Make, tmp_path: Path) -> None:
    glossary = tmp_path / "terms.csv"
    glossary.write_text("# ours\nsteam turbine,a machine\nfeed-water pump\n")
    text = "the Steam\nturbine and the feed-water pump of the main boiler were shut down by the crew"
    batch = make(*[text] * 30)
    made = deletion(batch, alpha=0.9, terms=("main boiler",), glossary=str(glossary))["text"].to_pylist()
    assert made
    for child in made:
        assert "Steam\nturbine" in child
        assert "feed-water pump" in child
        assert "main boiler" in child
    assert any("crew" not in child for child in made)
    assert not all("boiler" in child for child in deletion(batch, alpha=0.9)["text"].to_pylist())


def test_a_missing_glossary_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match="glossary"):
        read_terms((), "/nowhere/terms.txt")


def test_names_are_known_by_their_capitals_within_the_sentence(make: Make) -> None:
    text = "Paris is large. We went to Paris by train. Trains are fast there. MUCH LOUDER WORDS STAND HERE NOW."
    made = deletion(make(*[text] * 40), alpha=0.9)["text"].to_pylist()
    assert all(child.count("Paris") == 2 for child in made)
    assert any("Trains" not in child for child in made)
    assert any("LOUDER" not in child for child in made)


def test_german_nouns_are_no_names(make: Make) -> None:
    text = "wir sahen den großen Hund auf der Straße"
    made = deletion(make(*[text] * 40, language="de"), alpha=0.5)["text"].to_pylist()
    assert any("Hund" not in child for child in made)
    assert all("Hund" in child for child in deletion(make(*[text] * 40), alpha=0.5)["text"].to_pylist())


def test_abbreviated_titles_end_no_sentence(make: Make) -> None:
    made = deletion(make(*["then came Dr. Watson with some of his old friends"] * 40), alpha=0.9)["text"].to_pylist()
    assert all("Watson" in child for child in made)
