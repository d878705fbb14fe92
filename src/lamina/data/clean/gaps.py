"""Words that are missing in a text, filled by a masked language model (Devlin et al. 2019) that is served.

    [[data.steps]]
    transform = "fill_words"
    service = "http://127.0.0.1:8080"

The service speaks Hugging Face's fill-mask task: ``{"inputs": [text, …]}`` gives, for each text with one mask, a list
of ``{"token_str", "score"}``, the likeliest first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson
import pyarrow as pa

from lamina.contracts.inference import Filler
from lamina.data.clean.frames import DETAIL, to_frame, with_columns
from lamina.kit.errors import ConfigError, FetchError
from lamina.kit.registry import STEPS
from lamina.kit.service import Service

MASK = "[MASK]"
_MARKS = ("[MASK]", "[illegible]", "[unreadable]", "[unclear]")
_BEFORE, _AFTER = 600, 300  # characters round a gap that the model sees
_AT_ONCE = 32  # gaps in one question
OURS = "/v1/fill-mask"  # of `lamina serve`
_GUESSES = 10  # words asked for; some may be no words
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


class _Gap(NamedTuple):
    row: int
    begin: int
    end: int


@STEPS("fill_words", kind="transform", version=1)
def fill_words(
    batch: pa.RecordBatch,
    *,
    service: str,
    marks: tuple[str, ...] = _MARKS,
    least: float = 0.5,
    mask: str = MASK,
    remote: bool = False,
) -> pa.RecordBatch:
    """``text`` with each of ``marks`` replaced by the likeliest word, where its probability is ``least`` or more.

    ``service``: the address of a fill-mask service, ``lamina serve``'s ``…/v1/fill-mask`` among them. Adds
    ``imputed_words`` (how many were filled); the ledger has each place, word and probability. ``mask``: what the
    served model calls its mask; ``remote``: the texts may be sent to another machine. Raises ``FetchError`` where the
    service does not answer: the run stops and goes on later.
    """
    import polars as pl

    if not 0 <= least <= 1 or not marks or not all(marks):
        raise ConfigError(f"least = {least} is a probability, and marks = {list(marks)} are what gaps look like")
    filler = _opened(service, mask, remote)  # a wrong address is told before any work
    texts: list[str | None] = to_frame(batch.select(["text"]))["text"].to_list()
    gaps = list(_gaps(texts, re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))), re.IGNORECASE)))
    words = _asked(filler, texts, gaps, least)
    after, counts = list(texts), [0] * len(texts)
    details: list[str | None] = [None] * len(texts)
    found: dict[int, list[tuple[_Gap, str, float]]] = {}
    for gap, likeliest in zip(gaps, words, strict=True):
        if likeliest is not None:
            found.setdefault(gap.row, []).append((gap, *likeliest))
    for row, filled in found.items():
        text = texts[row] or ""
        for gap, word, _ in reversed(filled):  # from the end, so that places stay right
            text = text[: gap.begin] + word + text[gap.end :]
        after[row], counts[row] = text, len(filled)
        details[row] = orjson.dumps([[gap.begin, word, round(sure, 4)] for gap, word, sure in filled]).decode()
    columns = {"text": pl.Series(after, dtype=pl.String), "imputed_words": pl.Series(counts, dtype=pl.Int64)}
    return with_columns(batch, pl.DataFrame(columns | {DETAIL: pl.Series(details, dtype=pl.String)}))


class ServedFiller:
    """A ``contracts.inference.Filler`` behind an address, in the form of Hugging Face's fill-mask services or of our
    own ``/v1/fill-mask``; texts have ``[MASK]``, whatever the model calls it."""

    def __init__(self, service: Service, *, mask: str = MASK) -> None:
        self._service, self._mask = service, mask

    def fill(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """For each text candidates for its first mask, (word, probability), the likeliest first."""
        inputs = [text.replace(MASK, self._mask, 1) for text in texts]
        try:
            if self._service.address.endswith(OURS):
                said = self._service.post("", {"input": inputs, "k": _GUESSES})
                answers = [[(str(g["word"]), float(g["probability"])) for g in row["masks"][0]] for row in said["data"]]
            else:
                said = self._service.post("", {"inputs": inputs})
                if len(texts) == 1 and isinstance(said, list) and said and isinstance(said[0], dict):
                    said = [said]  # servers leave the outer list away for a single text
                answers = [[(str(one["token_str"]).strip(), float(one["score"])) for one in some] for some in said]
        except (LookupError, TypeError, ValueError) as error:
            raise FetchError("the answer is not one of a fill-mask service", where=self._service.address) from error
        if len(answers) != len(texts):
            raise FetchError(f"{len(texts)} texts got {len(answers)} answers", where=self._service.address)
        return answers


@lru_cache(maxsize=4)
def _opened(address: str, mask: str, remote: bool) -> Filler:
    return ServedFiller(Service(address, remote=remote, key="LAMINA_FILLER_KEY"), mask=mask)


def _gaps(texts: Sequence[str | None], marks: re.Pattern[str]) -> Iterator[_Gap]:
    for row, text in enumerate(texts):
        for found in marks.finditer(text or ""):
            yield _Gap(row, *found.span())


def _asked(
    filler: Filler, texts: Sequence[str | None], gaps: Sequence[_Gap], least: float
) -> list[tuple[str, float] | None]:
    """The word of each gap and its probability; None where the model is not sure, or what it says is no word."""
    words: list[tuple[str, float] | None] = []
    for begin in range(0, len(gaps), _AT_ONCE):
        some = gaps[begin : begin + _AT_ONCE]
        for candidates in filler.fill([_question(texts[gap.row] or "", gap) for gap in some]):
            best = next(((word, sure) for word, sure in candidates if _WORD.fullmatch(word)), None)
            words.append(best if best is not None and best[1] >= least else None)
    return words


def _question(text: str, gap: _Gap) -> str:
    """What stands round a gap, with the one mask; other gaps in it read as an ellipsis."""
    before = text[max(0, gap.begin - _BEFORE) : gap.begin].replace(MASK, "…")
    after = text[gap.end : gap.end + _AFTER].replace(MASK, "…")
    return f"{before}{MASK}{after}"
