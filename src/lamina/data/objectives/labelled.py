"""Texts with labels as shards: what a classifier learns from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lamina.contracts.tokens import Tokenizer
from lamina.data.forms import Part
from lamina.data.shards import ShardWriter
from lamina.kit.errors import InputError


def write_labelled(
    rows: Iterable[tuple[str, str | int]],
    folder: Path,
    tokenizer: Tokenizer,
    *,
    names: Sequence[str | int],
    weight: float = 1.0,
) -> Part:
    """Pairs of text and label as a part of a stream; ``names``: the labels, in the order of the model's scores.

    Texts without a token are left out. Raises ``InputError`` that names the row: no text, or a label that is none.
    """
    number_of = {name: number for number, name in enumerate(names)}
    labels: list[int] = []
    with ShardWriter(folder, tokenizer, kind="labelled") as writer:
        for number, (text, label) in enumerate(rows):
            if not isinstance(text, str):
                raise InputError(f"is no text but {text!r}", where=f"row {number}")
            if isinstance(label, float) or label not in number_of:  # NaN is what tables hold where nothing is
                known = ", ".join(str(name) for name in names)
                raise InputError(f"the label {label!r} is none of {known}", where=f"row {number}")
            ids = tokenizer.encode(text)
            if ids:
                writer.add(ids, [True] * len(ids), id=str(number), source="labelled")
                labels.append(number_of[label])
        if not labels:
            raise InputError("there is no text with a label", where=str(folder))
        return Part(shards=writer.close(), weight=weight, labels=np.asarray(labels, np.int64))
