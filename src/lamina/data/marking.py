"""A phase's steps over a batch, with Decides that mark documents instead of taking them away at once.

So every signal of the phase is known of every document, and other thresholds can be tried without measuring again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from lamina.contracts.corpus import LEDGER
from lamina.data.clean.frames import empty, to_batch, to_frame
from lamina.data.steps import Phase, run, run_decide, verdict_of

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

    The ledger tells what became of a document until its first drop.
    """
    import polars as pl

    ledgers: list[pa.RecordBatch] = []
    verdicts: dict[str, pa.Array] = {}
    alive = pl.repeat(True, batch.num_rows, dtype=pl.Boolean, eager=True)
    for step in phase.steps:
        if step.kind != "decide":
            outcome = run(step, batch)
            batch = outcome.batch
            ledgers.append(_of(outcome.ledger, batch, alive))
            continue
        verdict = verdict_of(step, batch)
        living = batch if alive.all() else batch.filter(alive.to_arrow())
        ledgers.append(run_decide(step, living).ledger)
        alive = alive & verdict.fill_null(True)  # nothing is lost for want of a value
        if step.at_once and not alive.all():
            stay = alive.to_arrow()
            batch, verdict = batch.filter(stay), verdict.filter(alive)
            verdicts = {label: array.filter(stay) for label, array in verdicts.items()}
            alive = alive.filter(alive)
        verdicts[step.label] = verdict.to_arrow()
    told = pa.Table.from_batches(ledgers, schema=LEDGER).combine_chunks().to_batches()
    return Marked(batch, alive, verdicts, told[0] if told else empty(LEDGER))


def _of(ledger: pa.RecordBatch, batch: pa.RecordBatch, alive: pl.Series) -> pa.RecordBatch:
    """The entries on documents that are still there."""
    import polars as pl

    if alive.all() or not ledger.num_rows:
        return ledger
    living = to_frame(batch.select(["id"]))["id"].filter(alive)
    return to_batch(to_frame(ledger).filter(pl.col("id").is_in(living.implode())), ledger.schema)
