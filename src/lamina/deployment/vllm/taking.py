"""What vLLM told of a request, as chunks of its answer."""

from __future__ import annotations

import time
from dataclasses import replace

from lamina.contracts.inference import Chunk
from lamina.deployment.engine.admission import StreamingTokenizer
from lamina.deployment.engine.observer import Observer
from lamina.deployment.engine.outbox import Outbox
from lamina.deployment.engine.sequence import Sequence
from lamina.deployment.vllm.library import Told
from lamina.kit.errors import LaminaError


class Taker:
    """Puts chunks into ``outbox`` and tells ``observer``; used by one thread."""

    def __init__(self, tokenizer: StreamingTokenizer, outbox: Outbox) -> None:
        self.observer: Observer | None = None
        self._tokenizer, self._outbox = tokenizer, outbox
        self._pieces = getattr(tokenizer, "pieces", None)

    def take(self, sequence: Sequence, told: Told) -> Chunk | LaminaError | None:
        """Take the tokens of a step, as far as the answer goes; how it ended, None where it goes on."""
        if not sequence.generated:
            sequence.cached_tokens = told.cached
        for drawn in told.drawn:
            self._observe(sequence)
            most = sequence.sampler.logprobs
            top = None if most is None else (drawn.top or ())[:most]
            chunk = sequence.take(replace(drawn, top=top), self._told)
            if sequence.reason is not None:
                return last(chunk)
            self._outbox.put(sequence, chunk)
        if not told.over:
            return None
        # For a reason of vLLM's own: its context is full, or it gave the request up.
        return last(sequence.cut()) if told.over == "length" else LaminaError(f"vLLM ended this answer: {told.over}")

    def _told(self, token: int) -> tuple[str, bytes | None]:
        """A token's text by itself, and its bytes where the tokenizer knows them."""
        if self._pieces is None:
            return self._tokenizer.decode([token]), None
        raw = self._pieces[token] if token < len(self._pieces) else b""
        return raw.decode("utf-8", "replace"), raw

    def _observe(self, sequence: Sequence) -> None:
        now = time.monotonic()
        if self.observer is not None:
            if sequence.last_token is None:
                self.observer.first_token(now - sequence.arrived, sequence.prompt_tokens)
            else:
                self.observer.next_token(now - sequence.last_token)
        sequence.last_token = now


def last(chunk: Chunk | LaminaError) -> Chunk | LaminaError:
    """Without an entropy: vLLM tells none."""
    return replace(chunk, mean_entropy=None) if isinstance(chunk, Chunk) else chunk
