"""What may be done with a document, as columns: its licence by SPDX, and whether its site keeps text mining to itself.

    decide = "license_known AND NOT rights_reserved"

A site may reserve its rights by TDMRep (tdm-reservation), Content-Signal and Content-Usage in robots.txt (ai-train=no,
train-ai=n), the words noai and unavailable_after for robots, and by shutting out the robots that collect for language
models; the column ``rights`` has these words as they stood. This is a reading of signals, no legal advice.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Literal, get_args

import pyarrow as pa

from lamina.data.clean.frames import to_frame, with_columns
from lamina.data.values import spdx_license
from lamina.kit.registry import STEPS

Reservation = Literal["tdm", "signal", "noai", "expired", "agents"]
_ALL: tuple[Reservation, ...] = get_args(Reservation)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_OPEN = re.compile(
    r"(?:CC0|CC-PDM|CC-BY|CC-BY-SA|PDDL|ODbL|ODC-By|CDLA-Permissive|OGL-UK|etalab|MIT|MIT-0|ISC|Apache|BSD|0BSD|Zlib|MPL|GPL"
    r"|LGPL|AGPL|GFDL|EUPL|PSF|Python|Unlicense|BSL|PostgreSQL|Artistic|WTFPL|CECILL|OFL|X11|NCSA)"
    r"(?:-\d[\w.]*)?(?:-(?:only|or-later|Clause|[A-Z]{2,3}|no-invariants[\w-]*))*\+?",
)
_CLOSED = re.compile(
    r"CC-BY(?:-NC)?(?:-ND|-SA)?-\d\.\d(?:-[A-Z]{2,3})?|CC-BY-NC\S*|LicenseRef-\S+|Elastic-2\.0|SSPL-1\.0"
)
_TDM = re.compile(r"tdm-reservation\s*:\s*1\b", re.IGNORECASE)
_SIGNAL = re.compile(
    r"content-signal[^;]*\bai-train\s*=\s*no\b|content-usage[^;]*\b(?:train-ai|train-genai|ai-train|tdm)\s*=\s*(?:n|no)\b",
    re.IGNORECASE,
)
_NOAI = re.compile(r"(?:robots|googlebot|x-robots-tag)\s*:[^;]*\bnoai\b", re.IGNORECASE)
_AFTER = re.compile(r"unavailable_after\s*:\s*([^;]{4,40})", re.IGNORECASE)
_AGENTS = re.compile(r"disallowed\s*:\s*\S", re.IGNORECASE)


@STEPS("rights", kind="signal", version=1)
def rights(batch: pa.RecordBatch, *, reserved_by: tuple[Reservation, ...] = _ALL) -> pa.RecordBatch:
    """Adds

    - ``license_spdx`` (string): the SPDX name, or an expression of names, of ``license``; null where it is none
    - ``license_known`` (bool): whether there is one
    - ``license_open`` (bool): whether it lets anybody use and change the text for any purpose (attribution, share-alike
      and copyleft are open, NC and ND are not); null where the licence is not known
    - ``rights_reserved`` (bool): whether ``rights`` reserves mining or training in one of the ways of ``reserved_by``:
      tdm, signal, noai, expired (unavailable_after has passed), agents (robots of language models are shut out)
    - ``rights_reason`` (string): in which ways, by commas; null where in none
    """
    import polars as pl

    frame = to_frame(batch.select(["license", "rights", "collected"]))
    names = {text: _spdx(text) for text in frame["license"].unique().drop_nulls()}
    opens = {name: _is_open(name) for name in set(names.values()) if name}
    table = {text: name for text, name in names.items() if name}
    spdx = frame["license"].replace_strict(table, default=None, return_dtype=pl.String)
    # The same words stand beside every page of a site: each different one is read once.
    pairs = frame.select("rights", pl.col("collected").dt.date().alias("day"))
    told = {(text, day): reservations(text, day) for text, day in pairs.unique().iter_rows() if text}
    reasons = [[r for r in told.get(pair, ()) if r in reserved_by] for pair in pairs.iter_rows()]
    columns = pl.DataFrame(
        {
            "license_spdx": spdx,
            "license_known": spdx.is_not_null(),
            "license_open": spdx.replace_strict(opens, default=None, return_dtype=pl.Boolean),
            "rights_reserved": pl.Series([bool(r) for r in reasons], dtype=pl.Boolean),
            "rights_reason": pl.Series([",".join(r) or None for r in reasons], dtype=pl.String),
        }
    )
    return with_columns(batch, columns)


def reservations(words: str, day: date | None = None) -> tuple[Reservation, ...]:
    """The ways in which the words of ``rights`` reserve the text; ``day``: when it was collected (a date).

    >>> reservations("content-signal: search=yes, ai-train=no; robots: noindex, noai")
    ('signal', 'noai')
    """
    found: list[Reservation] = []
    if _TDM.search(words):
        found.append("tdm")
    if _SIGNAL.search(words):
        found.append("signal")
    if _NOAI.search(words):
        found.append("noai")
    if (after := _AFTER.search(words)) and _passed(after[1], day):
        found.append("expired")
    if _AGENTS.search(words):
        found.append("agents")
    return tuple(found)


def _passed(text: str, day: date | None) -> bool:
    """Whether a date in one of the usual forms is before ``day`` (today where None); False for what is no date."""
    for read in (parsedate_to_datetime, datetime.fromisoformat, lambda t: datetime.strptime(t, "%d-%b-%Y %H:%M:%S %Z")):
        try:
            return read(text.strip()).date() < (day or datetime.now(UTC).date())
        except (ValueError, TypeError, IndexError):
            continue
    return False


@lru_cache(maxsize=4096)
def _spdx(text: str) -> str | None:
    """The SPDX name or expression that ``text`` is or names; None for other words."""
    name = spdx_license(text)
    parts = re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", name)
    known = [part.strip() for part in parts if part.strip()]
    return name if known and all(_NAME.fullmatch(p) and _known(p) for p in known) else None


def _known(name: str) -> bool:
    return bool(_OPEN.fullmatch(name) or _CLOSED.fullmatch(name) or "exception" in name)


@lru_cache(maxsize=4096)
def _is_open(name: str) -> bool:
    """Of alternatives one must be open, of licences that hold together all."""
    choices = re.split(r"\s+OR\s+", name)
    return any(
        all(_OPEN.fullmatch(part.strip("() ")) for part in re.split(r"\s+AND\s+", choice.split(" WITH ")[0]))
        for choice in choices
    )
