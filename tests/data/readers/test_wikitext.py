from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.readers.wikitext import plain


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''Ink''' is ''wet''.<ref name=\"a\">No {{cite|x}}.</ref><ref name=a/> Yes<!-- no -->.", "Ink is wet. Yes."),
        ("[[A]] [[a b|c]] [[A (x)|]] [[#part|part]] [[:Category:D]] [[wikt:e|e]]", "A c A part Category:D e"),
        ("x [[File:a.jpg|thumb|A [[cat]] with {{x}}.]] y [[Category:Z]] [[de:Tinte]]", "x  y"),
        ("[http://x.org label] [http://x.org] [//x] http://y.org", "label   http://y.org"),
        ("{{infobox|a={{b|c}}\n|d=[[e]]}}\nText {{lang|fr|mot}} {{convert|5|km}} a{{ndash}}b", "Text mot 5 km a–b"),
        ("== Head ==\n* one\n** two\n# three\n: four", "## Head\n\n- one\n  - two\n- three\n\nfour"),
        ("a\n== Empty ==\n=== Also ===\n== Full ==\nb\n== Last ==\n{{reflist}}", "a\n\n## Full\n\nb"),
        ("<nowiki>[[x]] {{y}}</nowiki> <math>a_{{1}}</math>", "[[x]] {{y}} a_{{1}}"),
        ("<pre>\n def f():\n   ''x''\n</pre>", " def f():\n   ''x''"),
        ("a<br>b &amp;nbsp; &lt;c&gt; __NOTOC__ ----", "a\n\nb &nbsp; <c>  ----"),
        ("kept {{open\n\n[[link|text]] kept", "kept open\n\ntext kept"),
    ],
)
def test_markup_becomes_text(markup: str, text: str) -> None:
    assert plain(markup) == text


def test_tables_by_rows_and_boxes_left_out() -> None:
    table = '{| class="wikitable"\n|+ Lamps\n! A !! B\n|-\n| style="x" | 1 || {{!}}\n|-\n|\n| two [[b|c]]\n|}'
    assert plain(f"x\n{table}\ny") == "x\n\nLamps\n\nA | B\n1 | |\n| two c\n\ny"
    assert plain('x\n{| class="infobox vcard"\n| a\n|}\ny') == "x\n\ny"


def test_names_of_namespaces_in_other_languages() -> None:
    assert plain("a [[Datei:x.png|mini|Bild]] [[Kategorie:B]] b", {"datei": 6, "kategorie": 14}) == "a   b"


@pytest.mark.parametrize(
    "piece", ["{{", "[[", "{|\n", "<ref>", "<pre>", "}}", "]]", "|}\n", "<!--", "''", "[http://x ", "=="]
)
def test_what_never_closes_takes_no_time(piece: str) -> None:
    start = time.process_time()
    plain(piece * 50_000)
    assert time.process_time() - start < 5


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["{{", "}}", "[[", "]]", "{|\n", "|}", "|", "<ref>", "</ref>", "a", "\n", "<pre>", "=", "*"])
    )
)
def test_any_markup_gives_some_text(pieces: list[str]) -> None:
    found = plain("".join(pieces))
    assert found.count("a") <= pieces.count("a")
