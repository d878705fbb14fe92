"""Missing data, a policy for each field: require (rows without it are dropped), a default, or derive it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.frames import to_frame, with_columns
from lamina.data.clean.language import detect
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

_TITLE_CHARS = 80
_HEADING = r"\A(?:[^\n]*\n){0,4}?#{1,6}[ \t]+([^\n]+?)[ \t#]*(?:\n|\z)"
_FIRST_LINE = r"\A\s*([^\n]+)\n"
_URL_DATE = r"[/\-_.](?P<y>(?:19|20)\d\d)[/\-_.]?(?P<m>0[1-9]|1[0-2])[/\-_.]?(?P<d>0[1-9]|[12]\d|3[01])(?:\D|$)"
_META_DATES = ("created", "created_at", "published", "datePublished", "date", "pubDate", "timestamp")
_STAMP = r"^((?:1[5-9]|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))(?:[T ](\d\d:\d\d(?::\d\d)?))?"
Derived = Literal["title", "created", "language"]
_FILLABLE = tuple(f.name for f in DOCUMENTS if pa.types.is_string(f.type) and f.name not in ("id", "text", "text_hash"))


@STEPS("missing", kind="transform", version=1)
def missing(
    batch: pa.RecordBatch,
    *,
    require: tuple[str, ...] = (),
    default: dict[str, str] | None = None,
    derive: tuple[Derived, ...] = ("title",),
) -> pa.RecordBatch:
    """Fills what is null: first ``derive``, then ``default`` (field to value); each filled value is in the ledger.

    ``derive`` knows: ``title`` from the first heading or a first line that reads like one, ``created`` from meta or a
    date in the URL (UTC), ``language`` by detection. A row that still lacks a field of ``require`` is dropped by the
    Decide that the pipeline puts behind this step. Raises ``ConfigError`` for a field that is not there.
    """
    import polars as pl

    defaults = default or {}
    _check(require, DOCUMENTS.names, "missing.require")
    _check(tuple(defaults), _FILLABLE, "missing.default")
    names = list(dict.fromkeys([*derive, *defaults]))
    if not names:
        return batch
    frame = to_frame(batch.select(list(dict.fromkeys([*names, "text", "url", "meta"]))))
    makers = {"title": _title, "created": _created}
    for name in derive:
        if name == "language":
            found = _languages(frame)
        else:
            found = frame.select(makers[name]()).to_series()
        frame = frame.with_columns(pl.coalesce(name, found.alias("_found")).alias(name))
    filled = [pl.col(name).fill_null(value) for name, value in defaults.items()]
    return with_columns(batch, frame.with_columns(filled).select(names))


def requirement(field: str) -> str:
    """The Decide expression of a required field: not null, and not blank where it is text."""
    if pa.types.is_string(DOCUMENTS.field(field).type):
        return f"{field} IS NOT NULL AND TRIM({field}) != ''"
    return f"{field} IS NOT NULL"


def _check(fields: tuple[str, ...], known: list[str] | tuple[str, ...], where: str) -> None:
    for field in fields:
        if field not in known:
            raise ConfigError(f"there is no field '{field}' to fill or ask for", where=where, hint=", ".join(known))


def _title() -> pl.Expr:
    """A Markdown heading near the top; else the first line, if it is short, has a letter and ends like a title."""
    import polars as pl

    text = pl.col("text")
    line = text.str.extract(_FIRST_LINE).str.strip_chars()
    reads_like_one = (
        (line.str.len_chars() <= _TITLE_CHARS)
        & line.str.contains(r"\p{L}")
        & ~line.str.contains(r"[.,;:!?…\"]$")
        & ~line.str.contains(r"^(?:\S{1,24}: |[-*•>|{<\[])")  # a speaker, a list item, a quotation, code
        & text.str.contains(r"\A\s*[^\n]+\n\s*\S")
    )
    conversation = pl.col("meta").str.contains(r'"(?:messages|role)"\s*:').fill_null(False)
    heading = text.str.extract(_HEADING).str.strip_chars()
    title = pl.coalesce(heading, pl.when(reads_like_one).then(line))
    return pl.when(~conversation).then(title).str.head(200)


def _created() -> pl.Expr:
    import polars as pl

    # Only what looks like JSON is asked for paths; anything else has none.
    meta = pl.when(pl.col("meta").str.contains(r"^\s*\{")).then("meta")
    stamps = [meta.str.json_path_match(f"$.{key}") for key in _META_DATES]
    days = [
        pl.concat_str(
            s.str.extract(_STAMP, 1), pl.lit("T"), s.str.extract(_STAMP, 2).fill_null("00:00").str.head(5)
        ).str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False)
        for s in stamps
    ]
    url = pl.col("url")
    day = pl.concat_str(*(url.str.extract(_URL_DATE, i) for i in (1, 2, 3)), separator="-")
    days.append(day.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False))
    return pl.coalesce(days).dt.replace_time_zone("UTC")


def _languages(frame: pl.DataFrame) -> pl.Series:
    import polars as pl

    unknown = frame["language"].is_null()
    texts = [t if u else None for t, u in zip(frame["text"], unknown, strict=True)]  # fastText has no batch call
    return pl.Series([c[0][0] if c else None for c in detect(texts)], dtype=pl.String)
