"""The life of requests, whoever computes their tokens: let in, queued, given up, ended, forgotten."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Protocol

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.admission import PLAIN, Admission, Standing, StreamingTokenizer
from lamina.deployment.engine.guidance import Guidance, TokenGuide
from lamina.deployment.engine.observer import Load, Observer
from lamina.deployment.engine.outbox import Outbox
from lamina.deployment.engine.room import Queued, Room
from lamina.deployment.engine.sequence import Deliver, Sequence, State
from lamina.kit.errors import BusyError, DeadlineError, InputError, LaminaError

_log = logging.getLogger(__name__)


class Queue(Queued, Protocol):
    """Where requests wait, and who runs: ``Scheduler``, for one."""

    def add(self, sequence: Sequence) -> None:
        """The last of its key and priority."""
        ...

    def remove(self, sequence: Sequence) -> None:
        """Out of it, wherever it is."""
        ...


class Teller:
    """Tells texts of tokens, and an ``observer`` when they came; used by one thread."""

    def __init__(self, tokenizer: StreamingTokenizer) -> None:
        self.observer: Observer | None = None
        self._tokenizer = tokenizer
        self._pieces = getattr(tokenizer, "pieces", None)

    def token(self, token: int) -> tuple[str, bytes | None]:
        """Its text by itself, and its bytes where the tokenizer knows them."""
        if self._pieces is None:
            return self._tokenizer.decode([token]), None
        raw = self._pieces[token] if token < len(self._pieces) else b""
        return raw.decode("utf-8", "replace"), raw

    def came(self, sequence: Sequence) -> None:
        """One more token of ``sequence``."""
        now = time.monotonic()
        if self.observer is not None:
            if sequence.last_token is None:
                self.observer.first_token(now - sequence.arrived, sequence.prompt_tokens)
            else:
                self.observer.next_token(now - sequence.last_token)
        sequence.last_token = now


class Lifecycle(ABC):
    """What every engine is to the service: many requests at once, streamed.

    ``admission`` makes a sequence of a request, which waits in ``queue``, where
    ``queue_tokens`` and ``max_wait`` seconds have room. A subclass starts ``_thread``, which computes."""

    _thread: threading.Thread

    def __init__(
        self,
        version: str,
        tokenizer: StreamingTokenizer,
        admission: Admission,
        queue: Queue,
        *,
        queue_tokens: int,
        max_wait: float | None,
    ) -> None:
        self.version, self._admission, self._queue = version, admission, queue
        self._room = Room(queue, queue_tokens, max_wait)
        self._teller, self._outbox = Teller(tokenizer), Outbox()
        self._wake = threading.Condition()
        self._live: dict[str, Sequence] = {}
        self._closing, self._stepped = False, time.monotonic()

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._admission.context

    @property
    def guidance(self) -> Guidance:
        """Reads constraints."""
        return self._admission.guidance

    @property
    def observer(self) -> Observer | None:
        """Who is told what happens."""
        return self._teller.observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._teller.observer = observer

    # -- called from any thread -----------------------------------------------------------------------------------

    def submit(
        self,
        id: str,
        prompt: list[int],
        sampling: SamplingParams,
        deliver: Deliver,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        guide: TokenGuide | None = None,
        standing: Standing = PLAIN,
        adapter: EngineAdapter | None = None,
    ) -> None:
        """Queue a request. ``deliver`` gets its chunks, the last one with a ``finish_reason``, or one error.

        It is called on ``loop``'s thread where one is given, else on the engine's. ``guide``: of ``guidance``, for
        ``sampling.constraint``; waited for where none is given. ``adapter``: of ``fuse_adapter``. Raises ``InputError``
        (``context_length_exceeded``, a bad parameter) or ``BusyError`` (the queue is full) before anything is queued.
        """
        sequence = self._admission.sequence(id, prompt, sampling, deliver, loop, guide, standing, adapter)
        ready = self._prepare(sequence, sampling, standing)
        with self._wake:
            self._check_open()
            self._room.admit(sequence.key, len(sequence.tokens))
            self._admission.fit(sequence)  # nothing changes any more until it is queued
            if id in self._live:
                raise InputError(f"a request with the id '{id}' is running")
            self._live[id] = sequence
            self._enter(sequence, ready)
        self._ring()

    def check_room(self, key: str, active: int) -> None:
        """Raise ``QueueFullError`` where ``submit`` would, once those of ``active`` requests still on the way came."""
        with self._wake:
            self._room.check(key, 1, coming=max(0, active - len(self._live)))

    def abort(self, id: str) -> None:
        """End a request at the next step; nothing more is delivered for it. Unknown ids are ignored."""
        with self._wake:
            sequence = self._live.get(id)
            if sequence is not None:
                sequence.aborted = True
        self._ring()

    def close(self, *, timeout: float = 60.0) -> None:
        """Abort what runs and end what computes. Idempotent."""
        with self._wake:
            self._closing = True
        self._ring()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        self.guidance.close()

    @abstractmethod
    def load(self) -> Load:
        """How busy it is."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of the weights and of what else it holds, after ``close``."""

    # -- what engines do differently ------------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self, sequence: Sequence, sampling: SamplingParams, standing: Standing) -> Any:
        """What is to be known of a sequence before it is queued; may raise ``InputError``."""

    def _check_open(self) -> None:
        """Raise where nobody is let in any more."""
        if self._closing:
            raise BusyError("this model is being unloaded", hint="ask again")

    def _enter(self, sequence: Sequence, ready: Any) -> None:
        """Queue it; ``ready``: of ``_prepare``."""
        self._queue.add(sequence)

    def _ring(self) -> None:
        """Wake what computes."""
        with self._wake:
            self._wake.notify()

    def _expire(self, sequence: Sequence) -> None:
        """End an answer whose time is up."""
        self._end(sequence, sequence.expire())

    # -- the thread that computes ---------------------------------------------------------------------------------

    def _drop(self) -> None:
        """Take those out that were aborted, whose time is up, or that waited too long for their turn."""
        now = time.monotonic()
        with self._wake:
            live = list(self._live.values())
        for sequence in live:
            if sequence.aborted:
                self._leave(sequence, "abort")
            elif sequence.deadline is not None and sequence.deadline < now:
                self._expire(sequence)
            elif (refusal := self._room.late(sequence, now)) is not None:
                self._end(sequence, refusal)

    def _end_all(self, why: str) -> None:
        """Whatever is broken: nobody is left waiting."""
        for sequence in list(self._live.values()):
            try:
                self._end(sequence, LaminaError(why))
            except Exception:
                _log.exception("request %s could not be ended in order", sequence.id)

    def _end(self, sequence: Sequence, last: Chunk | LaminaError) -> None:
        if sequence.state is State.FINISHED:
            return
        self._outbox.put(sequence, last)
        reason = "deadline" if isinstance(last, DeadlineError) else "error"
        self._leave(sequence, reason if isinstance(last, LaminaError) else str(last.finish_reason))

    def _leave(self, sequence: Sequence, reason: str) -> None:
        """The one exit: what it holds is freed, and the request forgotten."""
        with self._wake:
            self._live.pop(sequence.id, None)
            self._queue.remove(sequence)
        if self.observer is not None:
            self.observer.finished(reason, time.monotonic() - sequence.arrived, sequence.generated)
