"""Ways to write the same thing: quotes, dashes, digits, dates. Each is a choice; nothing is changed by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

_QUOTES = {r"[“”„‟«»″〝〞＂]": '"', r"[‘’‚‛‹›′＇]": "'"}
_DASHES = {r"\s*[—―]\s*": " - ", r"[‐‑‒–−﹣－]": "-"}
_ZEROS = (
    0x660,
    0x6F0,
    0x7C0,
    0x966,
    0x9E6,
    0xA66,
    0xAE6,
    0xB66,
    0xBE6,
    0xC66,
    0xCE6,
    0xD66,
    0xE50,
    0xED0,
    0xF20,
    0xFF10,
)
_DIGITS = {chr(zero + n): str(n) for zero in _ZEROS for n in range(10)}
#: Groups of exactly three digits behind a comma, a thin or a no-break space; a comma may also begin decimals, so that
#: one group alone counts only before a point.
_GROUPED = r"\b(\d{1,3})[,\u{2009}\u{202f}\u{a0}](\d{3})"
_MONTHS = {
    **{"january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7, "august": 8},
    **{"september": 9, "october": 10, "november": 11, "december": 12},
    **{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9, "oct": 10, "nov": 11},
    **{"dec": 12, "januar": 1, "februar": 2, "märz": 3, "mai": 5, "juni": 6, "juli": 7, "oktober": 10, "dezember": 12},
    **{"enero": 1, "febrero": 2, "marzo": 3, "abril": 4, "mayo": 5, "junio": 6, "julio": 7, "agosto": 8},
    **{"septiembre": 9, "octubre": 10, "noviembre": 11, "diciembre": 12, "janvier": 1, "février": 2, "mars": 3},
    **{"avril": 4, "juin": 6, "juillet": 7, "août": 8, "septembre": 9, "octobre": 10, "décembre": 12},
}
_DAY = r"(0?[1-9]|[12]\d|3[01])"


def spelled(
    text: pl.Expr,
    *,
    quotes: bool = False,
    dashes: bool = False,
    numbers: Literal["keep", "ascii", "plain"] = "keep",
    dates: Literal["keep", "iso"] = "keep",
) -> pl.Expr:
    """``text`` written the chosen way; see ``normalize``."""
    for wanted, table in ((quotes, _QUOTES), (dashes, _DASHES)):
        for pattern, plain in table.items() if wanted else ():
            text = text.str.replace_all(pattern, plain)
    if numbers != "keep":
        text = text.str.replace_many(_DIGITS)
    if numbers == "plain":
        text = _ungrouped(text)
    return _iso(text) if dates == "iso" else text


def _ungrouped(text: pl.Expr) -> pl.Expr:
    """1,234,567 and 1,234.5 without their commas; 1,234 alone may be a decimal somewhere, and stays."""
    for _ in range(4):  # the groups of one number overlap, so a round takes the first of each
        text = text.str.replace_all(_GROUPED + r"([,\u{2009}\u{202f}\u{a0}]\d{3}\b)", "${1}${2}${3}")
    text = text.str.replace_all(r"\b(\d{4,})[,\u{2009}\u{202f}\u{a0}](\d{3})\b", "${1}${2}")
    return text.str.replace_all(_GROUPED + r"(\.\d)", "${1}${2}${3}")


def _iso(text: pl.Expr) -> pl.Expr:
    """Dates with the month as a word, or with points (day first by custom), or with the year first."""
    for name, month in _MONTHS.items():
        iso = f"-{month:02d}-"
        word = rf"(?i:{name})\.?"
        for pattern, form in (
            (rf"\b{_DAY}(?:st|nd|rd|th|\.)? (?:of |de )?{word},? (?:de )?((?:1[5-9]|20)\d\d)\b", "${2}" + iso + "${1}"),
            (rf"\b{word} {_DAY}(?:st|nd|rd|th)?,? ((?:1[5-9]|20)\d\d)\b", "${2}" + iso + "${1}"),
        ):
            text = text.str.replace_all(pattern, form)
    text = text.str.replace_all(rf"\b{_DAY}\.(0?[1-9]|1[0-2])\.((?:1[5-9]|20)\d\d)\b", "${3}-${2}-${1}")
    text = text.str.replace_all(rf"\b((?:1[5-9]|20)\d\d)/(0?[1-9]|1[0-2])/{_DAY}\b", "${1}-${2}-${3}")
    text = text.str.replace_all(r"\b(\d{4})-(\d)-(\d{1,2})\b", "${1}-0${2}-${3}")
    return text.str.replace_all(r"\b(\d{4}-\d\d)-(\d)\b", "${1}-0${2}")
