"""From the engine's thread to whoever asked: the chunks of a step in one call for each event loop."""

from __future__ import annotations

import asyncio
import logging

from lamina.contracts.inference import Chunk
from lamina.deployment.engine.sequence import Deliver, Sequence
from lamina.kit.errors import LaminaError

_log = logging.getLogger(__name__)
_Batch = list[tuple[Deliver, Chunk | LaminaError]]


class Outbox:
    """Collects during a step, hands over at its end; used by the engine's thread alone."""

    def __init__(self) -> None:
        self._items: list[tuple[Sequence, Chunk | LaminaError]] = []

    def put(self, sequence: Sequence, item: Chunk | LaminaError) -> None:
        """Keep ``item`` for the end of the step."""
        self._items.append((sequence, item))

    def flush(self) -> None:
        """Deliver what was put. A sequence whose event loop is closed, or that was aborted, gets nothing."""
        if not self._items:
            return
        items, self._items = self._items, []
        batches: dict[asyncio.AbstractEventLoop | None, _Batch] = {}
        for sequence, item in items:
            if not sequence.aborted:
                batches.setdefault(sequence.loop, []).append((sequence.deliver, item))
        for loop, batch in batches.items():
            if loop is None:
                _hand_over(batch)
                continue
            try:
                loop.call_soon_threadsafe(_hand_over, batch)
            except RuntimeError:  # the loop is closed: nobody listens any more
                for sequence, _ in items:
                    sequence.aborted = sequence.aborted or sequence.loop is loop


def _hand_over(batch: _Batch) -> None:
    for deliver, item in batch:
        try:
            deliver(item)
        except Exception:
            _log.exception("a receiver of chunks failed")
