"""Between Arrow record batches, which steps speak, and polars frames, in which they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS

if TYPE_CHECKING:
    import polars as pl

#: A transform may add this column: JSON on what it did to the row, for the ledger. It goes no further.
DETAIL = "_detail"
_SAID, _FACTS = b"lamina.warnings", b"lamina.facts"  # in the metadata of a pass's table


def to_frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """The batch as a polars frame (its text is not copied where polars can help it)."""
    import polars as pl

    frame = pl.from_arrow(batch)
    if not isinstance(frame, pl.DataFrame):  # pragma: no cover - a record batch always makes a frame
        raise TypeError("a record batch is expected")
    return frame


def to_batch(frame: pl.DataFrame, schema: pa.Schema | None = None) -> pa.RecordBatch:
    """One record batch; document columns get their declared types, other strings become ``string``."""
    import polars as pl

    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    wanted = schema or pa.schema([_field(field) for field in table.schema])
    batches = table.select(wanted.names).cast(wanted).combine_chunks().to_batches()
    return batches[0] if batches else empty(wanted)


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """No rows of ``schema``."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def texts_of(batch: pa.RecordBatch) -> pl.Series:
    """The column ``text``, null as empty."""
    import polars as pl

    return pl.Series("text", to_frame(batch.select(["text"]))["text"]).fill_null("")


def with_columns(batch: pa.RecordBatch, columns: pl.DataFrame) -> pa.RecordBatch:
    """``batch`` with the columns of ``columns`` added, or put in place of those of the same name."""
    added = to_batch(columns)
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    arrays.update(zip(added.schema.names, added.columns, strict=True))
    fields = [DOCUMENTS.field(n) if n in DOCUMENTS.names else pa.field(n, a.type) for n, a in arrays.items()]
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=pa.schema(fields))


def with_warnings(table: pa.Table, warnings: Sequence[str]) -> pa.Table:
    """``table`` with what its pass has to say to people; a table of documents has no place for that."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _SAID: orjson.dumps(list(warnings))})


def warnings_of(schema: pa.Schema) -> list[str]:
    """What ``with_warnings`` put there; also found in a Parquet file that the table was written to."""
    return list(orjson.loads((schema.metadata or {}).get(_SAID, b"[]")))


def with_facts(table: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """``table`` with what its pass measured, for the report."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _FACTS: orjson.dumps(dict(facts))})


def facts_of(schema: pa.Schema) -> dict[str, Any]:
    """What ``with_facts`` put there."""
    return dict(orjson.loads((schema.metadata or {}).get(_FACTS, b"{}")))


def _field(field: pa.Field) -> pa.Field:
    if field.name in DOCUMENTS.names:
        return DOCUMENTS.field(field.name)
    kind = pa.string() if pa.types.is_large_string(field.type) or pa.types.is_string_view(field.type) else field.type
    return pa.field(field.name, kind)
