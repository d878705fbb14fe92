"""A first answer before anybody asks."""

from __future__ import annotations

import threading

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.engine.lifecycle import Lifecycle
from lamina.kit.errors import LaminaError

_MOST_S = 300.0  # that it may take


def warm(engine: Lifecycle) -> None:
    """A prompt and a few tokens through the real queue, so that the first user does not wait for cold memory."""
    done = threading.Event()
    failures: list[LaminaError] = []

    def receive(item: Chunk | LaminaError) -> None:
        if isinstance(item, LaminaError):
            failures.append(item)
        if failures or (isinstance(item, Chunk) and item.finish_reason):
            done.set()

    count = min(32, engine.context - 4)
    engine.submit("warm-up", [0] * max(1, count), SamplingParams(temperature=0.0, max_tokens=2), receive)
    if not done.wait(_MOST_S):
        raise LaminaError(f"the model did not answer its first request within {_MOST_S:.0f} s")
    if failures:
        raise failures[0]
