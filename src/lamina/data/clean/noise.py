"""Noise: what pages and exports carry around their text, taken out line by line and mark by mark."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from lamina.data.clean.frames import to_frame, with_columns
from lamina.data.clean.normalize import CONTROLS
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

#: Whole lines that belong to the page and not to its text (case does not matter).
BOILERPLATE = (
    r"(?:skip|jump) to (?:the )?(?:main )?(?:content|navigation|search)",
    r"share (?:this|on|via)\b.{0,60}",
    r"(?:tweet|pin it|print this page|e-?mail this|copy link)",
    r"(?:all rights reserved\.?|(?:copyright )?(?:©|\(c\)) ?(?:19|20)\d\d\b.{0,100})",
    r"(?:advertisement|sponsored(?: content)?|promoted)",
    r"(?:we|this (?:web)?site) uses? cookies\b.{0,200}",
    r"(?:accept|reject|manage) (?:all )?cookies",
    r"(?:please )?(?:enable|turn on) javascript\b.{0,120}|javascript (?:is|must be)\b.{0,120}",
    r"(?:sign up|subscribe|log in|sign in|register)(?: (?:now|here|today|to (?:our|the) newsletter))?[.!]?",
    r"(?:read|show|load|view|see) (?:more|less|all)(?: ?(?:…|\.\.\.|»|→))?",
    r"(?:click|tap) here\b.{0,60}",
    r"(?:previous|next)(?: (?:page|post|article|chapter))?(?: ?[»→›])?|[«←‹] ?(?:previous|back)\b.{0,30}",
    r"back to (?:top|home)",
    r"(?:terms of (?:use|service)|privacy policy|cookie policy)(?: ?[|·•] ?.{0,80})?",
    r"page \d{1,5}(?: ?(?:of|/) ?\d{1,5})?",
    r"(?:this page (?:is )?intentionally left blank|lorem ipsum\b.*)",
)
#: Template text: wiki and Jinja markup that was never filled in, edit links.
TEMPLATES = r"\{\{[^{}\n]{0,200}\}\}|\{%[^{}\n]{0,200}%\}|\[(?:edit|citation needed|clarification needed)\]"
_TAGS = (
    "a|abbr|article|aside|b|blockquote|body|center|cite|dd|div|dl|dt|em|figure|font|footer|form|h[1-6]|head|header"
    "|hr|html|i|iframe|img|input|li|link|main|meta|nav|ol|p|section|small|span|strong|sub|sup|table|tbody|td|th|thead"
    "|tr|u|ul"
)
_BREAK = r"(?i)<br\s*/?>|</p>|</div>|</li>|</tr>"
_TAG = rf"(?i)</?(?:{_TAGS})(?:\s[^<>\n]{{0,300}})?/?>|<!--[^>]{{0,500}}-->|<!doctype[^>]{{0,100}}>"
_ENTITIES = {"&nbsp;": " ", "&#160;": " ", "&quot;": '"', "&apos;": "'", "&#39;": "'", "&lt;": "<", "&gt;": ">"}
#: Pictures with their joiners, skin tones and variation marks; flags. Signs like © that are text by custom stay.
_EMOJI = r"(?:[\p{Extended_Pictographic}--[©®™]][\u{fe0f}\u{200d}\u{1f3fb}-\u{1f3ff}]*|[\u{1f1e6}-\u{1f1ff}]{2})+"
#: Punctuation at the end of an address belongs to the sentence.
_URL = (
    r"(?i)\b(?:https?://|www\.)(?:[^\s@/]{0,200}@)?([^\s/?#<>\"'()]{0,252}[^\s/?#<>\"'().,;:!])"
    r"(?:[/?#:][^\s<>\"']{0,2000}[^\s<>\"'.,;:!?)\]]|[/?#])?"
)
_GUTENBERG_START = r"(?is)\A.*?\*\*\* ?start of (?:the|this) project gutenberg e(?:book|text)[^\n]*\*\*\*\s*"
_GUTENBERG_END = r"(?is)\n[^\n]*\*\*\* ?end of (?:the|this) project gutenberg e(?:book|text)\b.*\z"


@STEPS("noise", kind="transform", version=2)
def noise(
    batch: pa.RecordBatch,
    *,
    boilerplate: bool = True,
    markup: bool = True,
    templates: bool = True,
    lines: tuple[str, ...] = (),
    emoji: Literal["keep", "remove", "name"] = "keep",
    urls: Literal["keep", "remove", "host"] = "keep",
) -> pa.RecordBatch:
    """``text`` without boilerplate lines, markup left-overs, unfilled templates, Project Gutenberg's licence and
    control characters. ``lines`` are further regular expressions (Rust syntax) for whole lines to drop.

    ``emoji``: "remove" them, or write their Unicode "name" (:grinning face:); ``urls``: "remove" addresses of the web
    from the text, or leave their "host" alone.

    Texts with code (a backtick in them) keep their markup and templates: there it is the matter, not the noise.
    """
    import polars as pl

    frame = to_frame(batch.select(["text"])).with_columns(prose=~pl.col("text").str.contains("`", literal=True))
    text = pl.col("text").str.replace_all(CONTROLS, "")
    text = text.str.replace(_GUTENBERG_START, "").str.replace(_GUTENBERG_END, "")
    frame = frame.with_columns(text=text)
    if markup:
        plain = pl.col("text").str.replace_all(_BREAK, "\n").str.replace_all(_TAG, "")
        # The ampersand last: "&amp;lt;" is the text "&lt;", not a bracket.
        plain = plain.str.replace_many(_ENTITIES).str.replace_all("&amp;", "&", literal=True)
        frame = frame.with_columns(text=pl.when("prose").then(plain).otherwise("text"))
    if templates:
        filled = pl.col("text").str.replace_all(TEMPLATES, "")
        frame = frame.with_columns(text=pl.when("prose").then(filled).otherwise("text"))
    patterns = [*(BOILERPLATE if boilerplate else ()), *lines]
    if patterns:
        whole = rf"(?mi)^[ \t]*(?:{'|'.join(f'(?:{p})' for p in patterns)})[ \t]*(?:\n|\z)"
        try:
            frame = frame.with_columns(text=pl.col("text").str.replace_all(whole, ""))
        except pl.exceptions.ComputeError as error:
            raise ConfigError(f"not a regular expression: {error}", where="noise.lines") from error
    if emoji != "keep":
        frame = frame.with_columns(text=_without_emoji(frame["text"], named=emoji == "name"))
    if urls != "keep":
        frame = frame.with_columns(text=pl.col("text").str.replace_all(_URL, "$1" if urls == "host" else ""))
    tidy = pl.col("text").str.replace_all(r"[ \t]+\n", "\n").str.replace_all(r"\n{3,}", "\n\n")
    return with_columns(batch, frame.select(text=tidy.str.replace(r"^\n+", "").str.strip_chars_end()))


def _without_emoji(texts: pl.Series, *, named: bool) -> pl.Series:
    """Emoji gone, or each picture as its name between colons."""
    import polars as pl

    found = texts.str.extract_all(_EMOJI).list.explode().drop_nulls().unique()
    names = {picture: _name(picture) if named else "" for picture in sorted(found, key=len, reverse=True)}
    if not names:
        return texts
    frame = texts.to_frame("text")
    longest_first = pl.col("text").str.replace_many(list(names), list(names.values()), leftmost=True)
    tidy = pl.col("text") if named else pl.col("text").str.replace_all(r" {2,}", " ").str.replace_all(r"(?m) +$", "")
    return frame.with_columns(text=longest_first).with_columns(
        text=pl.when(pl.Series(texts.str.contains(_EMOJI))).then(tidy).otherwise("text")
    )["text"]


@lru_cache(maxsize=4096)
def _name(picture: str) -> str:
    parts = [unicodedata.name(c, "").lower() for c in picture if c not in "\ufe0f\u200d"]
    return "".join(f":{part.removeprefix('regional indicator symbol ')}:" for part in parts if part)
