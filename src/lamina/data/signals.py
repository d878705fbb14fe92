"""What a corpus keeps of its making: signals and verdicts of every document, and samples of what was dropped.

signals/phase-<n>.parquet   id, source, sizes (``_characters``, ``_bytes``), signals, ``decide:<step>`` (true = keep)
signals/steps.json          the steps: label, kind, expression, reason, phase
dropped.parquet             id, source, step, reason and the beginning of the text, at most 1,000 a step and source
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from lamina.data.parts import PartWriter, read_parts
from lamina.data.steps import Phase
from lamina.data.units import DROPPED, SAMPLES, signal_schema

GROUP = 32_768  # rows of a row group: these columns are narrow, and are read a column at a time


def write_signals(staging: Path, phases: Sequence[Phase], units: Sequence[Sequence[Path]]) -> None:
    """Gather what the units of each phase measured."""
    folder = staging / "signals"
    folder.mkdir()
    for number, (phase, folders) in enumerate(zip(phases, units, strict=True)):
        with PartWriter(folder / f"phase-{number}.parquet", signal_schema(phase), group=GROUP) as out:
            for batch in read_parts([f / "signals.parquet" for f in folders]):
                out.write(batch)
    (folder / "steps.json").write_bytes(orjson.dumps({"steps": _described(phases)}, option=orjson.OPT_INDENT_2))
    _write_samples(staging / "dropped.parquet", [f / "dropped.parquet" for folders in units for f in folders])


def _described(phases: Sequence[Phase]) -> list[dict[str, object]]:
    return [
        {
            "phase": number,
            "label": step.label,
            "kind": step.kind,
            "name": step.component.name if step.component else None,
            "parameters": dict(step.parameters),
            "expression": step.expression or None,
            "reason": step.reason or None,
        }
        for number, phase in enumerate(phases)
        for step in (*phase.steps, *((phase.closing,) if phase.closing else ()))
    ]


def _write_samples(place: Path, files: Sequence[Path]) -> None:
    """The first ids of each step and source: ids are hashes, so this is a draw that every run makes alike."""
    import polars as pl

    first = pl.DataFrame(schema={"id": pl.String, "step": pl.String, "source": pl.String})
    for file in files:  # a unit at a time: there may be more of them than memory holds
        names = pl.concat([first, pl.read_parquet(file, columns=first.columns)])
        first = names.sort("id").group_by("step", "source").head(SAMPLES).select(first.columns)
    chosen = first.select("id", "step")
    with PartWriter(place, DROPPED) as out:
        for batch in read_parts(files):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            rows = frame.join(chosen, on=["id", "step"], how="semi", maintain_order="left")
            for part in rows.select(DROPPED.names).to_arrow().cast(DROPPED).to_batches():
                out.write(part)
