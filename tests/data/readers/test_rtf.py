from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.data.readers.rtf import read
from lamina.kit.errors import DocumentError


def text(body: bytes) -> str:
    return str(read({}, b"{\\rtf1\\ansi\\ansicpg1252 " + body + b"}")["documents"][0]["text"])


def test_paragraphs_tables_and_properties() -> None:
    (found,) = read(
        {},
        rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\info{\title Gr\'fc\'dfe}{\author Ann}{\creatim\yr2024\mo5\dy1}}"
        rb"{\header Top}Caf\'e9 \b bold\b0 .\par Next\line line{\v hidden} \{x\}\par"
        rb"\trowd a\cell b\cell\row {\field{\*\fldinst HYPERLINK u}{\fldrslt link}}{\pict 89504e47}}",
    )["documents"]
    assert found["text"] == "Café bold.\n\nNext\nline {x}\n\na | b\nlink"
    assert (found["title"], found["author"], found["created"]) == ("Grüße", "Ann", "2024-05-01")


def test_characters_of_all_sorts() -> None:
    assert text(rb"\u8364? \uc2\u8364xx \uc1\u-10179?\u-8704? \emdash\ldblquote q\rdblquote") == "€ € 😀 —“q”"
    assert (
        text(rb"{\fonttbl{\f1\fcharset204 C;}{\f2\fcharset128 J;}}{\f1 \'cf\'f0\'e8}{\f2 \'93\'fa\'96\'7b}")
        == "При日本"
    )
    assert text(rb"a\bin5 {{{{{b") == "ab"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\t"), max_size=50))
def test_what_a_writer_escapes_comes_back(words: str) -> None:
    units = words.encode("utf-16-le")
    codes = [int.from_bytes(units[n : n + 2], "little", signed=True) for n in range(0, len(units), 2)]
    body = "".join(f"\\u{code}?" for code in codes).encode()
    assert text(b"x" + body + b"y") == f"x{words}y"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"plain", "no RTF"),
        (b"{\\rtf1 " + b"{" * 5000, "nested"),
        (b"{\\rtf1 {\\fonttbl", "cut short"),
        (b"{\\rtf1}", "no text"),
    ],
)
def test_what_is_none(data: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read({}, data)
