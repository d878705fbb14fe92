"""Normalisation: one way to write each character, one kind of white space, no damage from wrong decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from lamina.data.clean.frames import to_frame, with_columns
from lamina.data.clean.spelling import spelled
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

#: UTF-8 read as Latin-1 or Windows-1252 leaves one of these leads followed by what its continuation byte looks like.
MOJIBAKE = r"[ÂÃÅÄâÐÑð][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œžŸ]"
#: Control characters without tab and line feed; invisible marks that say nothing; a half-baked byte order mark.
CONTROLS = r"[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u200b\u2060\ufeff\ufff9-\ufffb]"
_LINE_ENDS = r"\r\n?|[\u000b\u000c\u0085\u2028\u2029]"
_SLACK = 64  # characters that even a tiny text may grow by


@STEPS("normalize", kind="transform", version=2)
def normalize(
    batch: pa.RecordBatch,
    *,
    form: Literal["NFC", "NFKC", "NFD", "NFKD"] = "NFC",
    mojibake: bool = True,
    quotes: Literal["keep", "plain"] = "keep",
    dashes: Literal["keep", "plain"] = "keep",
    hyphenation: bool = False,
    numbers: Literal["keep", "ascii", "plain"] = "keep",
    dates: Literal["keep", "iso"] = "keep",
    max_growth: float = 2.0,
) -> pa.RecordBatch:
    """``text`` in Unicode ``form``, with plain spaces and line feeds, at most one blank line
    in a row and no control characters; wrongly decoded UTF-8 is repaired (ftfy) where a cheap test finds it.

    By choice: ``quotes`` and ``dashes`` "plain" as on a typewriter; ``hyphenation`` joins words that were broken at
    the end of a line; ``numbers`` "ascii" writes the digits of other scripts as 0-9, "plain" also drops thousands
    separators; ``dates`` "iso" writes dates that can be read in one way only as 2026-11-24.

    Indentation stays. A text that would grow beyond ``max_growth`` times its length is left as it was.
    """
    import polars as pl

    frame = to_frame(batch.select(["text"]))
    before = frame["text"]
    column = pl.col("text").str.replace_all(_LINE_ENDS, "\n")
    repaired = frame.select(column)["text"]
    if mojibake:
        repaired = _repair(repaired)
    text = _hyphenated(pl.col("text")) if hyphenation else pl.col("text")
    after = pl.DataFrame({"text": repaired}).select(
        text.str.replace_all(CONTROLS, "")
        .str.replace_all(r"[\p{Zs}&&[^ ]]", " ")
        .str.normalize(form)
        .str.replace_all(r"(\S) {2,}", "$1 ")  # not at the start of a line: indentation means something
        .str.replace_all(r"[ \t]+\n", "\n")
        .str.replace_all(r"\n{3,}", "\n\n")
        .str.replace(r"^\n+", "")
        .str.strip_chars_end()
    )["text"]
    written = spelled(pl.col("text"), quotes=quotes == "plain", dashes=dashes == "plain", numbers=numbers, dates=dates)
    after = after.to_frame().select(written)["text"]
    limit = before.str.len_chars() * max_growth + _SLACK
    kept = pl.DataFrame({"before": before, "after": after, "fits": after.str.len_chars() <= limit}).select(
        text=pl.when(pl.col("fits")).then("after").otherwise("before")
    )
    return with_columns(batch, kept)


def _hyphenated(text: pl.Expr) -> pl.Expr:
    """Small letters around a hyphen at the end of a line: one word. "-\n" before a capital or a digit stays."""
    return text.str.replace_all(r"(\p{Ll})[-\u{2010}\u{ad}][ \t]*\r?\n[ \t]*(\p{Ll})", "${1}${2}")


def _repair(texts: pl.Series) -> pl.Series:
    import polars as pl

    damaged = texts.str.contains(MOJIBAKE).fill_null(False)
    if not damaged.any():
        return texts
    import ftfy

    settings = ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    # ftfy works on one string at a time; only the few texts that the test above found come here.
    fixed = [ftfy.fix_text(text, settings) for text in texts.filter(damaged)]
    return texts.scatter(damaged.arg_true(), pl.Series(fixed, dtype=pl.String))
