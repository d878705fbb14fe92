"""A phase's steps over a batch, with Decides that mark documents instead of taking them away at once.

So every signal of the phase is known of every document, and other thresholds can be tried without measuring again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import pyarrow as pa

from lamina.contracts.corpus import LEDGER
from lamina.data.clean.frames import empty, to_batch, to_frame
from lamina.data.steps import Phase, Step, refused, run, verdicts_of

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Marked:
    """Documents that went through a phase: all of them, which are kept, what each Decide said, and the ledger."""

    batch: pa.RecordBatch
    alive: pl.Series
    verdicts: Mapping[str, pa.Array]
    ledger: pa.RecordBatch

    def kept(self) -> pa.RecordBatch:
        """The documents that stay."""
        return self.batch if self.alive.all() else self.batch.filter(self.alive.to_arrow())


def run_marked(phase: Phase, batch: pa.RecordBatch) -> Marked:
    """Run a phase's steps; a Decide marks documents and they go on, so that every signal is known of every document.

    The ledger tells what became of a document until its first drop. Decides that stand next to each other are
    evaluated together.
    """
    import polars as pl

    ledgers: list[pa.RecordBatch] = []
    verdicts: dict[str, pl.Series] = {}
    alive = pl.repeat(True, batch.num_rows, dtype=pl.Boolean, eager=True)
    for (decides, at_once), group in groupby(phase.steps, key=lambda step: (step.kind == "decide", step.at_once)):
        some = list(group)
        if not decides:
            for step in some:
                outcome = run(step, batch)
                batch = outcome.batch
                ledgers.append(_of(outcome.ledger, batch, alive))
            continue
        alive = _decide(some, batch, alive, verdicts, ledgers)
        if at_once:
            stay = pl.repeat(True, batch.num_rows, dtype=pl.Boolean, eager=True)
            for step in some:
                stay = stay & verdicts[step.label].fill_null(True)
            if not stay.all():
                batch, alive = batch.filter(stay.to_arrow()), alive.filter(stay)
                verdicts = {label: verdict.filter(stay) for label, verdict in verdicts.items()}
    told = pa.Table.from_batches(ledgers, schema=LEDGER).combine_chunks().to_batches()
    arrays = {label: verdict.to_arrow() for label, verdict in verdicts.items()}
    return Marked(batch, alive, arrays, told[0] if told else empty(LEDGER))


def _decide(
    steps: Sequence[Step],
    batch: pa.RecordBatch,
    alive: pl.Series,
    verdicts: dict[str, pl.Series],
    ledgers: list[pa.RecordBatch],
) -> pl.Series:
    """Put down what each Decide says of each document, and into the ledger what that means; who is left."""
    found = verdicts_of(steps, batch)
    for step, verdict in zip(steps, found, strict=True):
        verdicts[step.label] = verdict
        if verdict.null_count() or not verdict.all():
            concerned = alive & verdict.ne_missing(True)
            if concerned.any():
                ledgers.append(refused(step, batch, verdict, concerned))
            alive = alive & verdict.fill_null(True)  # nothing is lost for want of a value
    return alive


def _of(ledger: pa.RecordBatch, batch: pa.RecordBatch, alive: pl.Series) -> pa.RecordBatch:
    """The entries on documents that are still there."""
    import polars as pl

    if alive.all() or not ledger.num_rows:
        return ledger
    living = to_frame(batch.select(["id"]))["id"].filter(alive)
    return to_batch(to_frame(ledger).filter(pl.col("id").is_in(living.implode())), ledger.schema)
