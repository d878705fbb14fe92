"""Noise: what pages and exports carry around their text, taken out line by line and mark by mark."""

from __future__ import annotations

import pyarrow as pa

from lamina.data.clean.frames import to_frame, with_columns
from lamina.data.clean.normalize import CONTROLS
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS

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
_GUTENBERG_START = r"(?is)\A.*?\*\*\* ?start of (?:the|this) project gutenberg e(?:book|text)[^\n]*\*\*\*\s*"
_GUTENBERG_END = r"(?is)\n[^\n]*\*\*\* ?end of (?:the|this) project gutenberg e(?:book|text)\b.*\z"


@STEPS("noise", kind="transform", version=1)
def noise(
    batch: pa.RecordBatch,
    *,
    boilerplate: bool = True,
    markup: bool = True,
    templates: bool = True,
    lines: tuple[str, ...] = (),
) -> pa.RecordBatch:
    """``text`` without boilerplate lines, markup left-overs, unfilled templates, Project Gutenberg's licence and
    control characters. ``lines`` are further regular expressions (Rust syntax) for whole lines to drop.

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
    tidy = pl.col("text").str.replace_all(r"[ \t]+\n", "\n").str.replace_all(r"\n{3,}", "\n\n")
    return with_columns(batch, frame.select(text=tidy.str.replace(r"^\n+", "").str.strip_chars_end()))
