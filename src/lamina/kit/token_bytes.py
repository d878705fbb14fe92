"""From token ids back to text: the bytes of each token, and a decoder that never emits half a character.

Three alphabets are known: GPT-2's byte-level one (Radford et al. 2019), SentencePiece's ("▁" for a space, ``<0xNN>``
for a byte; Kudo and Richardson 2018, arXiv:1808.06226) and WordPiece's ("##" goes on with the word before, anything
else begins one; Devlin et al. 2019). Others are decoded by the tokenizer's own decoder.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any, Protocol

from tokenizers import Tokenizer

_FOREIGN = 0xFFFF  # what is no byte
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class StreamDecoder(Protocol):
    """Text as tokens come. What it gives in total is ``decode`` of all ids."""

    def push(self, token_id: int) -> str:
        """The characters that are complete now; often none, where a token ends inside a character."""
        ...

    def finish(self) -> str:
        """What is left: an incomplete character becomes U+FFFD."""
        ...


class ByteTable:
    """The bytes of each token; control tokens have none. ``strip``: one space at the very start is left out.

    ``first``: the bytes of a token that nothing but control tokens stands before, where they differ.
    """

    def __init__(self, pieces: list[bytes], strip: bool, first: list[bytes] | None = None) -> None:
        self.pieces = pieces
        self.strip = strip
        self.first = first

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``; bytes that are no UTF-8 become U+FFFD, ids beyond the vocabulary nothing."""
        pieces, size = self.pieces, len(self.pieces)
        known = [i for i in ids if 0 <= i < size]
        found = [pieces[i] for i in known]
        if self.first is not None and any(found):
            begin = next(n for n, piece in enumerate(found) if piece)
            found[begin] = self.first[known[begin]]
        raw = b"".join(found)
        return (raw[1:] if self.strip and raw[:1] == b" " else raw).decode("utf-8", "replace")

    def stream(self) -> StreamDecoder:
        """A fresh decoder for one answer."""
        return _ByteStream(self)


class _ByteStream:
    def __init__(self, table: ByteTable) -> None:
        self._table = table
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False

    def push(self, token_id: int) -> str:
        table = self._table
        if not 0 <= token_id < len(table.pieces):
            return ""
        raw = table.pieces[token_id]
        if raw and not self._begun:
            self._begun = True
            raw = raw if table.first is None else table.first[token_id]
            raw = raw[1:] if table.strip and raw[:1] == b" " else raw
        return self._decoder.decode(raw)

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class WindowStream:
    """For decoders that are not byte tables: decodes a growing list and emits what no later token can change."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._given = ""

    def push(self, token_id: int) -> str:
        """A text that ends in U+FFFD, or that rewrites what was given, waits."""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        if text.endswith("\ufffd") or not text.startswith(self._given):
            return ""
        fresh, self._given = text[len(self._given) :], text
        return fresh

    def finish(self) -> str:
        """The rest."""
        text = self._decode(self._ids)
        return text[len(self._given) :]


def byte_table(tokenizer: Tokenizer, control: Collection[int], size: int) -> ByteTable | None:
    """The table for a byte-level, SentencePiece or WordPiece tokenizer; None for another kind."""
    own: Any = tokenizer.decoder
    decoder = {} if own is None else json.loads(own.__getstate__())  # of the whole tokenizer it would be megabytes
    steps = decoder.get("decoders", [decoder])
    kinds = [step.get("type") for step in steps]
    strip = False
    if kinds == ["WordPiece"]:
        return _wordpiece_table(tokenizer, control, size)
    if kinds == ["ByteLevel"]:
        piece = byte_level
    elif kinds == ["Metaspace"]:
        strip = steps[0].get("prepend_scheme", "always") != "never"
        piece = _sentencepiece
    elif kinds[:1] == ["Replace"] and set(kinds[1:]) <= {"ByteFallback", "Fuse", "Strip"}:
        if (steps[0].get("pattern"), steps[0].get("content")) != ({"String": "▁"}, " "):
            return None
        strip = any(step.get("type") == "Strip" and step.get("start") for step in steps)
        piece = _sentencepiece
    else:
        return None
    added = tokenizer.get_added_tokens_decoder()
    pieces = [b""] * size
    for text, i in tokenizer.get_vocab(with_added_tokens=True).items():
        if i < size and i not in control:
            pieces[i] = text.encode() if i in added else piece(text)
    return ByteTable(pieces, strip)


def _wordpiece_table(tokenizer: Tokenizer, control: Collection[int], size: int) -> ByteTable:
    """What the library's decoder makes of each token behind another one, and at the start."""
    own: Any = tokenizer.decoder
    pieces, first = [b""] * size, [b""] * size
    for text, i in tokenizer.get_vocab(with_added_tokens=True).items():
        if i < size and i not in control:
            pieces[i] = own.decode(["a", text])[1:].encode()
            first[i] = own.decode([text]).encode()
    return ByteTable(pieces, False, first)


def _sentencepiece(text: str) -> bytes:
    byte = _BYTE.fullmatch(text)
    return bytes([int(byte[1], 16)]) if byte else text.replace("▁", " ").encode("utf-8", "surrogatepass")


def byte_level(text: str) -> bytes:
    """The bytes that a token of a byte-level vocabulary stands for."""
    try:
        return text.translate(_gpt2_bytes()).encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


@cache
def _gpt2_bytes() -> dict[int, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printable)]
    outside = dict.fromkeys(others, _FOREIGN)  # bytes that stand for themselves in no token
    return outside | {b: b for b in printable} | {256 + n: b for n, b in enumerate(others)}
