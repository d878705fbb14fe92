"""How likely a language model finds a text: bits per byte and perplexity (Wenzek et al. 2020), asked of a served model.

    [[data.steps]]
    signal = "perplexity"
    [[data.steps]]
    decide = "bits_per_byte <= 1.6"
    reason = "unlikely text"

Without ``service`` the recipe serves the stack's base model for the time of cleaning. Other servers are asked for the
log-probabilities of a prompt in OpenAI's way: completions with ``echo`` (vLLM answers so).

What could not be measured is null, and no document is lost for it.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa

from lamina.contracts.inference import Scored, Scorer
from lamina.data.clean.frames import to_frame, with_columns
from lamina.kit.errors import ConfigError, FetchError
from lamina.kit.registry import STEPS
from lamina.kit.service import Service

#: Environment: where the model answers that the recipe serves; what a server of others wants as its key.
SCORER, _KEY = "LAMINA_SCORER", "LAMINA_SCORER_KEY"
_AT_ONCE = 8  # texts in one question
_CHARACTERS = 32_000  # of them together
_PATIENCE = 3  # questions in a row without an answer, after which the server is left alone
_PAUSE_S = 60.0
_log = logging.getLogger(__name__)


@STEPS("perplexity", kind="signal", version=1)
def perplexity(
    batch: pa.RecordBatch,
    *,
    service: str | None = None,
    protocol: Literal["completions", "score"] = "completions",
    model: str = "",
    max_chars: int = 4000,
    timeout_s: float = 60.0,
    remote: bool = False,
) -> pa.RecordBatch:
    """Adds, of the first ``max_chars`` characters of each text:

    - ``bits_per_byte`` (float64): Σ -log2 p ÷ UTF-8 bytes; models with different tokenizers can be compared
    - ``perplexity`` (float64): exp of the mean -ln p of a token
    - ``perplexity_failed`` (string): why there is no figure, where there is a text and none

    ``service``: an address such as "http://127.0.0.1:8000/v1", with the name of the ``model`` there; ``protocol``:
    "completions" (OpenAI's) or "score" (Lamina's own); ``remote``: texts may be sent to another machine.
    """
    import polars as pl

    if max_chars < 1 or timeout_s <= 0:
        raise ConfigError(f"max_chars = {max_chars} and timeout_s = {timeout_s} are above 0", where="perplexity")
    address = service or os.environ.get(SCORER) or ""
    scorer = _opened(address, protocol if service else "score", model, remote, timeout_s)
    texts = [None if t is None or not t.strip() else t[:max_chars] for t in to_frame(batch.select(["text"]))["text"]]
    rows = [row for row, text in enumerate(texts) if text is not None]
    bits: list[float | None] = [None] * len(texts)
    nats: list[float | None] = [None] * len(texts)
    failed: list[str | None] = [None] * len(texts)
    for some in _groups(rows, texts):
        for row, (scored, why) in zip(some, scorer.ask([texts[row] or "" for row in some]), strict=True):
            failed[row] = why
            if scored is not None:
                bits[row] = scored.nats / math.log(2) / len((texts[row] or "").encode())
                nats[row] = math.exp(min(scored.nats / max(scored.tokens, 1), 700.0))
    columns = {"bits_per_byte": pl.Series(bits, dtype=pl.Float64), "perplexity": pl.Series(nats, dtype=pl.Float64)}
    return with_columns(batch, pl.DataFrame(columns | {"perplexity_failed": pl.Series(failed, dtype=pl.String)}))


def _groups(rows: Sequence[int], texts: Sequence[str | None]) -> Iterator[list[int]]:
    """Rows to be asked about together, texts of like length beside each other."""
    group: list[int] = []
    size = 0
    for row in sorted(rows, key=lambda row: -len(texts[row] or "")):
        if group and (len(group) >= _AT_ONCE or size + len(texts[row] or "") > _CHARACTERS):
            yield group
            group, size = [], 0
        group.append(row)
        size += len(texts[row] or "")
    if group:
        yield group


class Served:
    """A ``contracts.inference.Scorer`` behind an address."""

    def __init__(self, service: Service, *, protocol: Literal["completions", "score"], model: str = "") -> None:
        self._service, self._protocol, self._model = service, protocol, model

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """How likely each text is. Raises ``FetchError`` where the server gives no answer, or none that can be used."""
        found = self._own(texts) if self._protocol == "score" else self._completions(texts)
        if len(found) != len(texts):
            raise FetchError(f"{len(texts)} texts got {len(found)} answers", where=self._service.address)
        if not all(math.isfinite(one.nats) and one.nats >= 0 and one.tokens > 0 for one in found):
            raise FetchError("the log-probabilities are no numbers", where=self._service.address)
        return found

    def _own(self, texts: Sequence[str]) -> list[Scored]:
        said = self._service.post("/score", {"texts": list(texts)})
        try:
            return [Scored(float(one["nats"]), int(one["tokens"])) for one in said["scores"]]
        except (LookupError, TypeError, ValueError) as error:
            raise FetchError("the answer is not one of a scorer", where=self._service.address) from error

    def _completions(self, texts: Sequence[str]) -> list[Scored]:
        body: dict[str, Any] = {"prompt": list(texts), "echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0}
        said = self._service.post("/completions", body | ({"model": self._model} if self._model else {}))
        try:
            choices = sorted(said["choices"], key=lambda choice: int(choice.get("index", 0)))
            return [_of_choice(choice, text) for choice, text in zip(choices, texts, strict=True)]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            what = "the server gives no log-probabilities of prompts"
            raise FetchError(what, where=self._service.address, hint="it must know 'echo' with 'logprobs'") from error


def _of_choice(choice: Any, text: str) -> Scored:
    """The sum over the prompt's tokens; the first one has no log-probability, since nothing stands before it."""
    told = choice["logprobs"]
    known = [float(value) for value in told["token_logprobs"] if value is not None]
    offsets = told.get("text_offset") or [0]
    if not known or offsets[0] >= len(text):
        raise ValueError("not of the prompt")
    return Scored(-sum(known), len(known))


class _Patient:
    """Asks a scorer, one text at a time where several together fail; leaves it alone for a while when it is dead."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._failures, self._until, self._why = 0, 0.0, ""

    def ask(self, texts: Sequence[str]) -> list[tuple[Scored | None, str | None]]:
        """The score of each text, or why there is none."""
        found = self._try(texts)
        if found is not None:
            return [(one, None) for one in found]
        if len(texts) == 1:
            return [(None, self._why)]
        # One text that the model refuses shall not cost the others theirs.
        return [answer for text in texts for answer in self.ask([text])]

    def _try(self, texts: Sequence[str]) -> Sequence[Scored] | None:
        if time.monotonic() < self._until:
            return None
        try:
            found = self._scorer.score(texts)
        except FetchError as error:
            self._why = error.what
            self._failures += 1
            _log.warning("no perplexity: %s", error)
            if self._failures >= _PATIENCE:
                self._until, self._failures = time.monotonic() + _PAUSE_S, 0
            return None
        self._failures = 0
        return found


@lru_cache(maxsize=4)
def _opened(
    address: str, protocol: Literal["completions", "score"], model: str, remote: bool, timeout_s: float
) -> _Patient:
    if not address:
        raise ConfigError(
            "no model is served", where="perplexity", hint='name one: service = "http://127.0.0.1:8000/v1"'
        )
    service = Service(address, remote=remote, key=_KEY, timeout_s=timeout_s)
    return _Patient(Served(service, protocol=protocol, model=model))
