"""The cleaning steps of a stack file: checked as a whole before any work, then applied batch by batch."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS, Batches
from lamina.data.clean.frames import DETAIL, empty, to_batch, to_frame
from lamina.data.clean.missing import requirement
from lamina.data.clean.recipes import expand
from lamina.data.ledger import changes, entries
from lamina.kit.config import bind
from lamina.kit.errors import ConfigError, LaminaError, StageError
from lamina.kit.registry import STEPS, Component

if TYPE_CHECKING:
    import polars as pl

KINDS = ("transform", "signal", "decide", "pass")
_PASS_COLUMNS = ("id", "drop", "detail")

#: What is done where a stack file says nothing. Gopher's rules are meant for web pages; chapters, encyclopedia leads
#: and posts must survive them, so they apply from 50 words on and with limits about half as strict again.
DEFAULT_STEPS: list[dict[str, Any]] = [
    {"transform": "normalize"},
    {"transform": "noise"},
    {"transform": "missing", "derive": ["title"]},
    {"signal": "language"},
    {"signal": "quality"},
    {"signal": "repetition"},
    {"decide": "words >= 3 OR characters >= 30", "reason": "too short"},
    {
        "decide": "words < 50 OR (symbols_per_word <= 0.15 AND alphabetic_words >= 0.5 AND bullet_lines <= 0.95"
        " AND ellipsis_lines <= 0.5 AND mean_word_length >= 2"
        " AND (mean_word_length <= 15 OR language IN ('zh', 'ja', 'th', 'lo', 'km', 'my'))"
        " AND (language != 'en' OR stop_words >= 2))",
        "reason": "quality",
    },
    {
        "decide": "words < 50 OR (duplicate_line_characters <= 0.3 AND duplicate_paragraph_characters <= 0.3"
        " AND top_2_gram <= 0.3 AND top_3_gram <= 0.27 AND top_4_gram <= 0.24"
        " AND duplicate_5_grams <= 0.25 AND duplicate_10_grams <= 0.2)",
        "reason": "repetition",
    },
    {"transform": "pii"},
    {"pass": "duplicates", "threshold": 0.8},
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step, ready to run. ``label`` is its name in the ledger: "03 signal language"."""

    label: str
    kind: str
    component: Component | None = None  # of a transform, signal or pass
    parameters: Mapping[str, Any] = field(default_factory=dict)
    expression: str = ""  # of a Decide
    reason: str = ""
    at_once: bool = False  # a Decide whose documents no later step may see


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Steps that see a batch at a time, and the pass (if any) that then sees all; ``schema`` is that after them."""

    steps: tuple[Step, ...]
    closing: Step | None
    schema: pa.Schema


def plan(steps: Sequence[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """Check every step (name, parameters, columns) by running it on no rows. Raises ``ConfigError``."""
    phases: list[Phase] = []
    current: list[Step] = [_no_text(0)]
    batch = empty(DOCUMENTS)
    for number, place, table in expand(steps):
        where = f"data.steps.{place}"
        for step in _read(table, number, where):
            if step.kind == "pass":
                phases.append(Phase(steps=tuple(current), closing=step, schema=batch.schema))
                current = []
                with TemporaryDirectory(prefix="lamina-plan-") as folder:
                    batch = _joined(batch, run_pass(step, _NoDocuments(Path(folder))))
            else:
                batch = _try(step, batch, where)
                current.append(step)
    current.append(_no_text(len(steps) + 1))
    phases.append(Phase(steps=tuple(current), closing=None, schema=batch.schema))
    return tuple(phases)


def _no_text(number: int) -> Step:
    """What has no text is no document, before the steps and after them."""
    return replace(_decide(requirement("text"), {"reason": "no text"}, f"{number:02d}", ""), at_once=True)


def _read(table: Mapping[str, Any], number: str, where: str) -> list[Step]:
    kinds = [kind for kind in KINDS if kind in table]
    if len(kinds) != 1:
        given = ", ".join(f"'{k}'" for k in table) or "nothing"
        close = [c for key in table for c in difflib.get_close_matches(str(key), [*KINDS, "recipe"], n=1)]
        advice = (
            f"did you mean '{close[0]}'?" if close and not kinds else "one of transform, signal, decide, pass, recipe"
        )
        raise ConfigError(f"a step needs exactly one kind; this one has {given}", where=where, hint=advice)
    kind, name = kinds[0], table[kinds[0]]
    rest = {key: value for key, value in table.items() if key != kind}
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"'{kind}' wants text, not {name!r}", where=where)
    if kind == "decide":
        return [_decide(name, rest, number, where)]
    try:
        component = STEPS.get(name, kind=kind)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from None
    parameters = bind(component.function, rest, where=f"{where} ({name})")
    step = Step(label=f"{number} {kind} {name}", kind=kind, component=component, parameters=parameters)
    # A required field is a Decide; the transform only fills.
    required = parameters.get("require", ()) if name == "missing" else ()
    for name in required:
        if name not in DOCUMENTS.names:
            raise ConfigError(f"there is no field '{name}'", where=where, hint=", ".join(DOCUMENTS.names))
    decides = [_decide(requirement(f), {"reason": f"no {f}"}, number, where) for f in required]
    return [step, *decides]


def _decide(expression: str, rest: Mapping[str, Any], number: str, where: str) -> Step:
    unknown = [key for key in rest if key != "reason"]
    if unknown:
        raise ConfigError(f"no such key '{unknown[0]}'", where=where, hint="a decide has 'decide' and 'reason'")
    reason = str(rest.get("reason") or expression)
    return Step(label=f"{number} decide {reason}", kind="decide", expression=expression, reason=reason)


def _try(step: Step, batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
    """Run a step on no rows, and a Decide on three rows of nulls, to see that it can run."""
    if step.kind == "decide":
        _check_decide(step, batch.schema, where)
        return batch
    try:
        return run(step, batch).batch
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where or where, hint=error.hint) from None


def _check_decide(step: Step, schema: pa.Schema, where: str) -> None:
    import polars as pl

    columns = {f.name: pa.nulls(3, f.type) for f in schema}
    frame = to_frame(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)))
    known = f"known columns: {', '.join(schema.names)}"
    try:
        verdict = frame.select(verdict=pl.sql_expr(step.expression))["verdict"]
    except pl.exceptions.ColumnNotFoundError as error:
        name = str(error).split('"')[1] if '"' in str(error) else str(error)
        close = difflib.get_close_matches(name, schema.names, n=1)
        advice = f"did you mean '{close[0]}'? {known}" if close else known
        raise ConfigError(f"there is no column '{name}' at this step", where=where, hint=advice) from None
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        what = str(error).split("\n")[0]
        raise ConfigError(f"'{step.expression}' cannot be decided: {what}", where=where, hint=known) from None
    if verdict.dtype not in (pl.Boolean, pl.Null):
        raise ConfigError(f"'{step.expression}' gives {verdict.dtype}, not true or false", where=where)
    if len(verdict) != 3:
        raise ConfigError(f"'{step.expression}' gives one verdict for many documents", where=where, hint=known)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows that stay, and what the ledger says of the step."""

    batch: pa.RecordBatch
    ledger: pa.RecordBatch


def run(step: Step, batch: pa.RecordBatch) -> Outcome:
    """Apply a transform, signal or decide to a batch."""
    if step.kind == "decide":
        return run_decide(step, batch)
    if step.component is None:  # a Step is made by plan() alone
        raise StageError("a step without a function", where=step.label)
    try:
        after = step.component.function(batch, **step.parameters)
    except LaminaError:
        raise
    except Exception as error:
        raise StageError(f"{type(error).__name__}: {error}", where=step.label) from error
    if not after.column("id").equals(batch.column("id")):
        raise StageError("a transform or signal may not add, drop or reorder documents", where=step.label)
    ledger = changes(to_frame(batch), to_frame(after), step.label)
    return Outcome(after.select([n for n in after.schema.names if n != DETAIL]), ledger)


def verdicts_of(steps: Sequence[Step], batch: pa.RecordBatch) -> list[pl.Series]:
    """What each Decide says of each document: true, false, or null where it cannot tell."""
    import polars as pl

    parsed = [_parsed(step.expression) for step in steps]
    names = dict.fromkeys(name for _, needed in parsed for name in needed)
    frame = to_frame(batch.select(list(names)))
    found = frame.select(expression.cast(pl.Boolean).alias(str(n)) for n, (expression, _) in enumerate(parsed))
    return found.get_columns()


def refused(step: Step, batch: pa.RecordBatch, verdict: pl.Series, which: pl.Series) -> pa.RecordBatch:
    """What the ledger says of the documents ``which`` (bool) of a batch: dropped, or undecided where there is none."""
    import polars as pl

    names = _parsed(step.expression)[1]
    columns = list(dict.fromkeys(["id", "source", *names]))
    frame = to_frame(batch.select(columns).filter(which.to_arrow()))
    said = verdict.filter(which)
    value = pl.struct(names).struct.json_encode() if names else pl.lit(None, dtype=pl.String)
    action = pl.Series("action", ["undecided" if v is None else "drop" for v in said], dtype=pl.String)
    rows = frame.select("id", "source", value=value).with_columns(action)
    return entries(rows, step=step.label, reason=step.reason, threshold=step.expression)


@lru_cache(maxsize=256)
def _parsed(expression: str) -> tuple[pl.Expr, tuple[str, ...]]:
    """An expression, and the columns that it names."""
    import polars as pl

    found = pl.sql_expr(expression)
    return found, tuple(sorted(set(found.meta.root_names())))


def run_decide(step: Step, batch: pa.RecordBatch) -> Outcome:
    """Drop the documents of which the Decide is false; those that it cannot tell stay, and are written down."""
    verdict = verdicts_of([step], batch)[0]
    ledger = refused(step, batch, verdict, verdict.ne_missing(True))
    kept = verdict.fill_null(True)  # nothing is lost for want of a value
    return Outcome(batch if kept.all() else batch.filter(kept.to_arrow()), ledger)


def run_pass(step: Step, batches: Batches) -> pa.Table:
    """Let a pass see everything; ``batches`` can be gone through more than once."""
    if step.component is None:
        raise StageError("a step without a function", where=step.label)
    try:
        return step.component.function(batches, **step.parameters)
    except LaminaError:
        raise
    except Exception as error:
        raise StageError(f"{type(error).__name__}: {error}", where=step.label) from error


class _NoDocuments:
    """What a pass sees when it is only asked for its columns."""

    earlier: Path | None = None

    def __init__(self, work: Path) -> None:
        self.work = work

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(())

    def map(self, function: str, payload: Mapping[str, Any]) -> list[Path]:
        return []


def apply_pass(step: Step, batch: pa.RecordBatch, found: pl.DataFrame) -> Outcome:
    """Join what a pass found to the documents of a batch; those it drops go, with their evidence in the ledger."""
    import polars as pl

    frame = to_frame(batch)
    joined = frame.join(found, on="id", how="left", maintain_order="left")
    threshold = step.parameters.get("threshold")
    gone = joined.filter(pl.col("drop").is_not_null()).select(
        "id",
        "source",
        "detail",
        action=pl.when(pl.col("detail").str.contains('"keeper"', literal=True).fill_null(False))
        .then(pl.lit("duplicate"))
        .otherwise(pl.lit("drop")),
        reason="drop",
        value=pl.col("detail").str.json_path_match("$.jaccard"),
    )
    ledger = entries(gone, step=step.label, threshold=None if threshold is None else str(threshold))
    kept = joined.filter(pl.col("drop").is_null()).drop("drop", "detail")
    return Outcome(to_batch(kept), ledger)


def _joined(batch: pa.RecordBatch, table: pa.Table) -> pa.RecordBatch:
    missing = [name for name in _PASS_COLUMNS if name not in table.schema.names]
    if missing:
        raise StageError(f"a pass must return the columns {', '.join(_PASS_COLUMNS)}")
    fields = {f.name: f for f in batch.schema} | {f.name: f for f in table.schema if f.name not in _PASS_COLUMNS}
    return empty(pa.schema(list(fields.values())))
