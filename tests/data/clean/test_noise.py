from __future__ import annotations

import pyarrow as pa
import pytest

from lamina.data.clean.noise import noise
from lamina.kit.errors import ConfigError


def clean(text: str, **parameters: object) -> str:
    return noise(pa.record_batch({"text": [text]}), **parameters).column("text")[0].as_py()


def test_drops_lines_of_the_page_around_the_text() -> None:
    page = "Skip to content\nThe whale surfaced.\nShare on Facebook\nAll rights reserved.\n© 2024 Pequod Ltd\nIt blew."
    assert clean(page) == "The whale surfaced.\nIt blew."


def test_keeps_sentences_that_only_mention_such_words() -> None:
    text = "We register each visitor by name.\nSubscribe to nothing, he said.\nThe advertisement was false."
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<p>One</p><p>Two &amp; <b>three</b></p>", "One\nTwo & three"),
        ("a &amp;lt; b", "a &lt; b"),
        ("1 < 2 and 3 > 2, x<y>z", "1 < 2 and 3 > 2, x<y>z"),  # not a tag of HTML
        ("Name: {{ user.name }} [edit]", "Name:"),
        ("Use `<p>` and `{{ x }}` here <b>now</b>", "Use `<p>` and `{{ x }}` here <b>now</b>"),  # it is about code
    ],
)
def test_markup_and_templates(text: str, wanted: str) -> None:
    assert clean(text) == wanted


def test_takes_the_licence_off_a_gutenberg_book() -> None:
    book = (
        "The Project Gutenberg eBook of X\nTerms\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nCall me Ishmael."
        "\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nSection 1. General terms"
    )
    assert clean(book) == "Call me Ishmael."


def test_lines_of_ones_own_and_a_broken_one() -> None:
    assert clean("Internal use only\ntext", lines=("internal use only",)) == "text"
    with pytest.raises(ConfigError, match="regular expression"):
        clean("x", lines=("(",))


def test_null_stays_null() -> None:
    assert noise(pa.record_batch({"text": pa.array([None], pa.string())})).column("text").to_pylist() == [None]


@pytest.mark.parametrize(
    ("choice", "text", "wanted"),
    [
        ({"emoji": "remove"}, "so 😀👍🏽 it is ❤️\n© 2 #1", "so it is\n© 2 #1"),
        ({"emoji": "name"}, "ok 😀", "ok :grinning face:"),
        ({"urls": "host"}, "see https://a.org/b?c=d, or (www.x.org).", "see a.org, or (x.org)."),
        ({"urls": "host"}, "at www.x.org. http://a.b:80/c!", "at x.org. a.b:80!"),
        ({"urls": "remove"}, "see https://user:pw@a.org/b now", "see  now"),
    ],
)
def test_emoji_and_addresses_by_choice(choice: dict[str, object], text: str, wanted: str) -> None:
    assert clean(text, **choice) == wanted
    assert clean(text) == text
