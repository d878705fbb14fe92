"""Personal data: e-mail addresses and phone numbers give way to addresses and numbers that belong to nobody."""

from __future__ import annotations

import pyarrow as pa

from lamina.data.clean.frames import DETAIL, to_frame, with_columns
from lamina.kit.registry import STEPS

#: RFC 2606 reserves example.com; the North American plan reserves 555-0100 to 555-0199 for fiction.
EMAIL_PLACEHOLDER = "email@example.com"
PHONE_PLACEHOLDER = "555-0100"
EMAIL = r"[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"
#: International (+, 8-15 digits in groups), or North American with an area code. Bare digit strings are left alone.
PHONE = (
    r"\+[1-9]\d{0,2}[ .\-/]?(?:\(0?\d{1,4}\)[ .\-/]?)?\d{2,5}(?:[ .\-/]?\d{2,5}){1,4}\b"
    r"|(?:\b1[ .\-])?(?:\([2-9]\d{2}\) ?|\b[2-9]\d{2}[.\-])\d{3}[ .\-]\d{4}\b"
)
_FIELDS = ("text", "title", "author", "meta")  # conversations lie in ``meta`` too


@STEPS("pii", kind="transform", version=1)
def pii(batch: pa.RecordBatch, *, email: bool = True, phone: bool = True) -> pa.RecordBatch:
    """Masks e-mail addresses and phone numbers in text, title, author and meta; the ledger has the counts."""
    import polars as pl

    frame = to_frame(batch.select(list(_FIELDS)))
    found: list[pl.Expr] = []
    masked = {name: pl.col(name) for name in _FIELDS}
    for wanted, label, pattern, placeholder in (
        (email, "email", EMAIL, EMAIL_PLACEHOLDER),
        (phone, "phone", PHONE, PHONE_PLACEHOLDER),
    ):
        if not wanted:
            continue
        # A placeholder that stands already is not found again.
        bare = pl.col("text").str.replace_all(placeholder, "", literal=True)
        found.append(bare.str.count_matches(pattern).fill_null(0).cast(pl.Int64).alias(label))
        masked = {name: column.str.replace_all(pattern, placeholder) for name, column in masked.items()}
    counts = frame.select(found)
    result = frame.select(**masked)
    if counts.width:
        detail = pl.when(pl.sum_horizontal(pl.all()) > 0).then(pl.struct(pl.all()).struct.json_encode())
        result = result.with_columns(counts.select(detail.alias(DETAIL)))
    return with_columns(batch, result)
