"""A quality classifier of one's own, from as few as 50 labels.

    [[data.steps]]
    signal = "quality_model"
    labels = "labels.jsonl"
    [[data.steps]]
    decide = "quality_model >= 0.3"
    reason = "quality by labels"

`lamina data labels` chooses the documents to label, and says how well the classifier does on labels it has not seen.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lamina.data.clean.frames import with_columns
from lamina.data.clean.labels import Label, read_labels, with_texts
from lamina.data.clean.quality_features import features
from lamina.data.clean.quality_training import Trained, check_labels, train
from lamina.kit.registry import STEPS


@STEPS("quality_model", kind="signal", version=1)
def quality_model(batch: pa.RecordBatch, *, labels: str) -> pa.RecordBatch:
    """Adds ``quality_model`` (float64): the probability that the person who labelled would keep the text; null where
    there is none.

    ``labels``: a file (see `labels`). The same labels give the same figures everywhere. Raises ``ConfigError`` where
    there are fewer than 20 labels, or fewer than 5 of one kind.
    """
    import polars as pl

    place = Path(labels)
    known = _known(place, _facts(place))
    if batch.num_rows:
        model = trained(place)
        there = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(batch.column("text"))), 0).fill_null(False)
        values = np.where(there.to_numpy(zero_copy_only=False), model.probabilities(features(batch)), np.nan)
    else:  # planning: the labels are looked at, and nothing is learned yet
        check_labels(known, labels)
        values = np.zeros(0)
    return with_columns(batch, pl.DataFrame({"quality_model": pl.Series(values, dtype=pl.Float64).fill_nan(None)}))


def trained(place: Path) -> Trained:
    """The classifier of a file of labels, kept for the life of this process."""
    return _trained(place, _facts(place))


def _facts(place: Path) -> tuple[int, int]:
    if not place.is_file():
        return 0, 0  # reading it says so
    facts = place.stat()
    return facts.st_mtime_ns, facts.st_size


@lru_cache(maxsize=4)
def _known(place: Path, facts: tuple[int, int]) -> list[Label]:
    return with_texts(read_labels(place), {}, str(place))


@lru_cache(maxsize=4)
def _trained(place: Path, facts: tuple[int, int]) -> Trained:
    return train(_known(place, facts), where=str(place))
