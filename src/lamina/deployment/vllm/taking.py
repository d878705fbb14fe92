"""What vLLM told of a request, as chunks of its answer."""

from __future__ import annotations

from dataclasses import replace

from lamina.contracts.inference import Chunk
from lamina.deployment.engine.lifecycle import Teller
from lamina.deployment.engine.outbox import Outbox
from lamina.deployment.engine.sequence import Sequence
from lamina.deployment.vllm.backend import Told
from lamina.kit.errors import LaminaError


class Taker:
    """Puts chunks into ``outbox`` and tells of them by ``teller``; used by one thread."""

    def __init__(self, teller: Teller, outbox: Outbox) -> None:
        self._teller, self._outbox = teller, outbox

    def take(self, sequence: Sequence, told: Told) -> Chunk | LaminaError | None:
        """Take the tokens of a step, as far as the answer goes; how it ended, None where it goes on."""
        if not sequence.generated:
            sequence.cached_tokens = told.cached
        for drawn in told.drawn:
            self._teller.came(sequence)
            most = sequence.sampler.logprobs
            top = None if most is None else (drawn.top or ())[:most]
            chunk = sequence.take(replace(drawn, top=top), self._teller.token)
            if sequence.reason is not None:
                return last(chunk)
            self._outbox.put(sequence, chunk)
        if not told.over:
            return None
        # For a reason of vLLM's own: its context is full, or it gave the request up.
        return last(sequence.cut()) if told.over == "length" else LaminaError(f"vLLM ended this answer: {told.over}")


def last(chunk: Chunk | LaminaError) -> Chunk | LaminaError:
    """Without an entropy: vLLM tells none."""
    return replace(chunk, mean_entropy=None) if isinstance(chunk, Chunk) else chunk
