"""``metrics.jsonl``: one JSON object a line, as training goes along. Units stand in the key names (``loss_nats``).

``samples.jsonl`` beside it, what the model wrote meanwhile, has the same form with texts for figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.kit.durable import append_lines, atomic_write, make_folder


class MetricsWriter:
    """Appends the figures of each step; every line is in the file when ``write`` returns (a kill loses none)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)

    def write(self, step: int, **values: float | str) -> None:
        """Add a line ``{"step": step, …}``. NaN and infinities become null: JSON has none."""
        said = {k: v if isinstance(v, str) or math.isfinite(v) else None for k, v in values.items()}
        append_lines(self.path, json.dumps({"step": step, **said}).encode() + b"\n")

    def truncate_after(self, step: int) -> None:
        """Forget the lines of later steps, which a resumed run will write again."""
        kept = [row for row in read_metrics(self.path) if row["step"] <= step]
        atomic_write(self.path, b"".join(json.dumps(row).encode() + b"\n" for row in kept))


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a metrics file; a line that a kill cut short is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row
