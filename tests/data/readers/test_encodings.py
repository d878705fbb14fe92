"""Texts from before UTF-8: read as they are said to be, never as they are guessed."""

from __future__ import annotations

import pytest

from lamina.data.readers.encodings import hint_of, known_encoding, legible
from lamina.kit.errors import ConfigError, DocumentError

GERMAN = "Über die Straße ging er früh am Morgen, müde und hungrig. "


def test_what_is_utf_8_stays_so_whatever_is_said() -> None:
    assert legible(GERMAN.encode(), "cp1252") == (GERMAN, 0)
    assert legible(GERMAN.encode("utf-16"), "cp1252") == (GERMAN, 0)


@pytest.mark.parametrize("encoding", ["cp1252", "iso8859-1", "cp1251", "koi8-r", "gb18030", "shift_jis", "big5"])
def test_what_is_said_is_read(encoding: str) -> None:
    text = {
        "c": GERMAN,
        "i": GERMAN,
        "k": "Съешь же ещё этих булок. ",
        "g": "今天天气很好。\n",
        "s": "今日は良い天気。\n",
    }
    given = "Съешь же ещё. " if encoding == "cp1251" else text.get(encoding[0], "今天天氣很好。\n")
    assert legible((given * 9).encode(encoding), encoding) == (given * 9, 0)


def test_files_that_were_joined_from_two_ages() -> None:
    old, new = "Müßig.\n" * 5, "Geht’s?\n" * 5
    assert legible(old.encode("cp1252") + new.encode(), "cp1252") == (old + new, 0)


def test_nothing_is_guessed() -> None:
    with pytest.raises(DocumentError, match="is not UTF-8") as caught:
        legible((GERMAN * 9).encode("cp1252"), None)
    assert 'looks like cp1252): encoding = "cp1252"' in str(caught.value)
    assert hint_of(b"\xff" * 9).startswith("save it as UTF-8")
    with pytest.raises(DocumentError, match="is binary"):
        legible(b"a\0b", "cp1252")
    with pytest.raises(DocumentError, match="cannot be decoded"):
        legible(b"\x81\x8d" * 50 + b"\xff", "cp1252")


def test_encodings_that_are_none() -> None:
    assert known_encoding("latin-1") == "iso8859-1"
    for name in ("klingon", "base64", "rot13"):
        with pytest.raises(ConfigError, match="no encoding"):
            known_encoding(name)
