"""What ``[model.train] validate_every`` measures: batches of the documents that are never trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.kit.errors import ConfigError
from lamina.kit.progress import open_progress
from lamina.recipes.objectives import open_stream
from lamina.recipes.train_section import TrainSection

if TYPE_CHECKING:
    from lamina.contracts.tokens import Batch
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.spec import ModelSpec

_TOKENS = 32768  # that are measured, at most


def held_out_batches(
    corpus: Path, section: TrainSection, tokenizer: ModelTokenizer, spec: ModelSpec, work: Path
) -> list[Batch]:
    """Of the held-out documents of ``corpus``, the same at each call; none where nothing is to be measured.

    Raises ``ConfigError`` where the corpus holds nothing out.
    """
    if section.validate_every is None:
        return []
    from lamina.data.shards import write_shards

    folder = work / f"held_out-{os.environ.get('RANK', '0')}"
    shards = write_shards(corpus, folder, tokenizer, split="held-out", progress=open_progress("quiet"))
    if not shards.documents:
        raise ConfigError(
            "the corpus holds no document out", where="model.train.validate_every", hint="data.held_out = 0.1"
        )
    stream, packed = open_stream([(shards, 1.0)], section, tokenizer, spec)
    rows = min(sum(packed.rows_per_epoch), max(1, _TOKENS // section.length))
    return [next(stream) for _ in range(max(1, rows // section.batch))]
