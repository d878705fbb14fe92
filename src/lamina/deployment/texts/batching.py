"""What is asked at the same time is computed together: one thread, a bounded queue, batches of texts alike in length.

The oldest item that waits is always in the next batch, with those of its group that are nearest to it in length, so
that little is padded and nobody waits for ever. Where a batch fails its items are computed one by one: what is at
fault fails alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from lamina.deployment.engine.observer import Load
from lamina.kit.errors import BusyError, LaminaError

#: Computes items of one group; as many results.
Compute = Callable[[Hashable, Sequence[Any]], Sequence[Any]]


@dataclass(slots=True, eq=False)
class _Item:
    group: Hashable
    value: Any
    size: int
    since: float
    result: Future[Any] = field(default_factory=Future)


class Batcher:
    """One thread that computes what waits. ``size`` of an item is in tokens.

    ``batch_tokens``: of a batch, padding included; ``queue_tokens``: that may wait; ``window_s``: how long an item that
    finds nothing to do waits for company. ``close`` when done.
    """

    def __init__(
        self,
        compute: Compute,
        *,
        name: str,
        batch_tokens: int = 8192,
        queue_tokens: int = 1 << 18,
        window_s: float = 0.002,
    ) -> None:
        self._compute, self._batch_tokens = compute, batch_tokens
        self._queue_tokens, self._window = queue_tokens, window_s
        self._wake = threading.Condition()
        self._waiting: list[_Item] = []
        self._running = 0
        self._stepped = time.monotonic()
        self._closing = False
        self.batches = 0  # computed so far
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, group: Hashable, values: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
        """The results of ``values``, which may be computed in several batches and with those of others of the group.

        Raises ``BusyError`` where too much waits, and the first error of one of them.
        """
        now = time.monotonic()
        items = [_Item(group, value, max(1, size), now) for value, size in zip(values, sizes, strict=True)]
        with self._wake:
            if self._closing:
                raise BusyError("this model is being unloaded", hint="ask again")
            waiting = sum(item.size for item in self._waiting)
            if waiting and waiting + sum(item.size for item in items) > self._queue_tokens:
                raise BusyError(
                    f"{waiting} tokens of other requests are waiting; the queue holds {self._queue_tokens}",
                    hint="ask again in a few seconds",
                )
            self._waiting += items
            self._wake.notify_all()
        try:
            return [item.result.result() for item in items]
        finally:
            asked = set(map(id, items))
            with self._wake:  # after an error nobody asks for the others any more
                self._waiting = [item for item in self._waiting if id(item) not in asked]

    def load(self) -> Load:
        """How busy it is."""
        with self._wake:
            busy = bool(self._running or self._waiting)
            age = time.monotonic() - self._stepped if busy else None
            return Load(running=self._running, waiting=len(self._waiting), cache_usage=0.0, step_age=age)

    def alive(self) -> None:
        """Called by ``compute`` in the midst of long work: it gets on."""
        self._stepped = time.monotonic()

    def close(self) -> None:
        """End after the batch that is computed; who waits is told. Idempotent."""
        with self._wake:
            self._closing = True
            left, self._waiting = self._waiting, []
            self._wake.notify_all()
        for item in left:
            item.result.set_exception(BusyError("this model is being unloaded", hint="ask again"))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                    self._stepped = time.monotonic()
                left = self._waiting[0].since + self._window - time.monotonic() if self._waiting else 0.0
                if left > 0 and not self._closing:
                    self._wake.wait_for(lambda: self._closing, left)
                if self._closing:
                    return
                batch = self._next()
                self._running = len(batch)
            if batch:
                self._answer(batch)
            with self._wake:
                self._running, self._stepped = 0, time.monotonic()

    def _next(self) -> list[_Item]:
        """The oldest item and those of its group nearest to it in size, as many as the batch holds."""
        if not self._waiting:
            return []
        oldest = self._waiting[0]
        mates = [item for item in self._waiting if item.group == oldest.group]
        mates.sort(key=lambda item: (abs(item.size - oldest.size), item.since))
        batch: list[_Item] = []
        longest = 0
        for item in mates:
            longest = max(longest, item.size)
            if batch and longest * (len(batch) + 1) > self._batch_tokens:
                break
            batch.append(item)
        taken = set(map(id, batch))
        self._waiting = [item for item in self._waiting if id(item) not in taken]
        return batch

    def _answer(self, batch: Sequence[_Item]) -> None:
        self.batches += 1
        try:
            results = self._compute(batch[0].group, [item.value for item in batch])
            if len(results) != len(batch):  # else the thread ended here, and who waits would wait for ever
                raise RuntimeError(f"{len(batch)} items gave {len(results)} results")
        except Exception as error:
            if len(batch) > 1:
                for item in batch:
                    self._answer([item])
                return
            failed = error if isinstance(error, LaminaError) else _failure(error)
            batch[0].result.set_exception(failed)
            return
        for item, result in zip(batch, results, strict=True):
            item.result.set_result(result)


def _failure(error: Exception) -> LaminaError:
    made = LaminaError(f"the model failed on this text: {type(error).__name__}: {error}")
    made.__cause__ = error
    return made
