"""The engine: one thread that answers many requests at once, step by step, and sleeps when there is nothing to do."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.admission import PLAIN, Admission, Standing, StreamingTokenizer
from lamina.deployment.engine.blocks import BlockManager
from lamina.deployment.engine.cache import Cache, bytes_per_token
from lamina.deployment.engine.change import CacheState, Change
from lamina.deployment.engine.choice import Proof, describe
from lamina.deployment.engine.draft import Draft
from lamina.deployment.engine.guidance import Guidance, TokenGuide
from lamina.deployment.engine.ngrams import Ngrams
from lamina.deployment.engine.observer import Load, Observer
from lamina.deployment.engine.outbox import Outbox
from lamina.deployment.engine.room import Room
from lamina.deployment.engine.runner import Kernels, Runner
from lamina.deployment.engine.scheduler import Scheduler, Step
from lamina.deployment.engine.sequence import Deliver, Sequence, State
from lamina.deployment.engine.sizes import suited
from lamina.deployment.engine.stepping import Stepper
from lamina.kit.errors import BusyError, DeadlineError, InputError, LaminaError
from lamina.model.transformer import Transformer

_log = logging.getLogger(__name__)
_CHECK_EVERY = 1000  # steps between two checks of who owns which block


class Engine:
    """Continuous batching of ``model`` (taken over: do not use it elsewhere until the engine is closed).

    ``version`` is stamped on every chunk; ``generation`` are the model's ``generation_config`` values; ``cache_mb`` MiB
    hold keys and values (memory is touched only as they fill), of kind ``cache``; ``context`` caps prompt and answer
    together; ``queue_tokens`` caps the prompts that wait, ``max_wait`` the seconds that one waits for its turn;
    ``speculate``: guess tokens where that pays, by ``ngrams`` and ``draft`` (taken over) too; ``sole``: nobody uses the
    model afterwards either, so that weights of which the engine has a copy in its own form are let go of;
    ``deterministic``: an answer's bits depend on its request alone, and one without a seed has 0; ``proof``: see
    ``Runner``. What is None is taken from ``sizes``, by what it lies on.
    """

    _change: Change | None = None  # to be made before the next step

    def __init__(
        self,
        model: Transformer,
        tokenizer: StreamingTokenizer,
        *,
        version: str,
        max_sequences: int | None = None,
        block_tokens: int = 16,
        cache_mb: int | None = None,
        cache: Cache = None,
        generation: Mapping[str, Any] | None = None,
        context: int | None = None,
        queue_tokens: int = 32768,
        max_wait: float | None = None,
        chunk: int | None = None,
        wide_chunk: int | None = None,
        observer: Observer | None = None,
        kernels: Kernels = "auto",
        speculate: bool = True,
        ngrams: Ngrams | None = None,
        draft: Draft | None = None,
        sole: bool = False,
        deterministic: bool = False,
        proof: Proof | None = None,
    ) -> None:
        self.version, self.tokenizer = version, tokenizer
        self.generation = dict(generation or {})
        sizes = suited(next(iter(model.state_dict().values())).device)
        max_sequences = max_sequences or sizes.sequences
        count = (cache_mb or sizes.cache_mb) * 2**20 // (bytes_per_token(model, cache) * block_tokens)
        longest = self.longest = min(context or model.spec.max_positions, model.spec.max_positions)
        count = max(1, min(count, max_sequences * -(-longest // block_tokens)))
        self._admission = Admission(
            tokenizer,
            version=version,
            context=min(longest, count * block_tokens),
            vocabulary=model.spec.stack.embeddings.vocabulary,
            generation=self.generation,
            seed=0 if deterministic else None,
        )
        self._blocks = BlockManager(count, block_tokens, root=version)
        way: dict[str, Any] = {"kernels": kernels, "cache": cache, "sole": sole, "deterministic": deterministic}
        way |= {"blocks": count, "block_tokens": block_tokens, "context": self.context, "most": max_sequences}
        self._runner = Runner(model, proof=proof, **way)
        self._admission.kernels = describe(self._runner.kernels)
        chunks = {"chunk": chunk or sizes.chunk, "wide_chunk": wide_chunk or sizes.wide_chunk}
        self._scheduler = Scheduler(self._blocks, max_sequences=max_sequences, **chunks)
        self._room = Room(self._scheduler, queue_tokens, max_wait)
        self._wake = threading.Condition()
        self._live: dict[str, Sequence] = {}
        self._outbox = Outbox()
        guessing: dict[str, Any] = {"speculate": speculate, "ngrams": ngrams, "draft": draft}
        self._stepper = Stepper(
            self._runner, self._blocks, tokenizer, self._outbox, rows=sizes.rows, end=self._end, **guessing
        )
        self.observer = observer
        self._closing, self._steps, self._stepped = False, 0, time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"engine-{version}", daemon=True)
        self._thread.start()

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._admission.context

    @property
    def runner(self) -> Runner:
        """What computes; for others only as long as no request was submitted."""
        return self._runner

    @property
    def guidance(self) -> Guidance:
        """Reads constraints."""
        return self._admission.guidance

    @property
    def observer(self) -> Observer | None:
        """Who is told what happens."""
        return self._stepper.observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._stepper.observer = observer

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
        sequence.keys = self._blocks.keys(prompt, adapter.key if adapter else "", salt=standing.salt)
        with self._wake:
            if self._closing:
                raise BusyError("this model is being unloaded", hint="ask again")
            self._room.admit(sequence.key, len(sequence.tokens))
            if id in self._live:
                raise InputError(f"a request with the id '{id}' is running")
            self._live[id] = sequence
            self._scheduler.add(sequence)
            self._wake.notify()

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
                self._wake.notify()

    def load(self) -> Load:
        """How busy the engine is."""
        with self._wake:
            running, waiting = len(self._scheduler.running), len(self._scheduler.waiting)
            age = time.monotonic() - self._stepped if running or waiting else None
            return Load(running=running, waiting=waiting, cache_usage=self._blocks.usage, step_age=age)

    def cache(self) -> CacheState:
        """How much of the key-value cache there is, may be used, and is in memory."""
        return self._blocks.state(self._runner.token_bytes, coming=self._stepper.coming)

    def adapt(self, change: Change) -> None:
        """Make ``change`` before the next step, or at once where nothing is asked; no request is dropped for it.

        Of the blocks as many stay as the longest request needs that runs or waits; whoever asks for more than is left
        is refused (``context_length_exceeded``).
        """
        with self._wake:
            self._change = change if self._change is None else self._change.then(change)
            self._wake.notify()

    def close(self, *, timeout: float = 30.0) -> None:
        """Abort what runs and end the thread. Idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        self.guidance.close()

    def forget(self) -> None:
        """Let go of the weights and of the keys and values, after ``close``."""
        self._stepper.close()
        del self._runner, self._stepper

    # -- the engine's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._closing and not self._live and self._change is None:
                    self._wake.wait()
                if self._closing:
                    break
            try:
                with self._wake:
                    self._adapt()
                    self._drop_aborted()
                    step = self._scheduler.schedule()
                if given := self._blocks.given():
                    self._runner.give_back(given)
                self._perform(step)
            except Exception:
                _log.exception("the engine of %s failed; the requests that it held end with an error", self.version)
                self._end_all("the model failed while it answered")
            self._outbox.flush()
        self._end_all("the model was unloaded before the answer was complete")
        self._outbox.flush()

    def _adapt(self) -> None:
        """Make the change that waits."""
        change, self._change = self._change, None
        if change is None:
            return
        self._scheduler.resize(max_sequences=change.sequences, chunk=change.chunk, wide_chunk=change.wide_chunk)
        self._stepper.rows = change.rows or self._stepper.rows
        if change.threads is not None and change.prompt_threads is not None:
            self._stepper.threads = change.threads, change.prompt_threads
        if change.blocks is not None:
            needs = (min(self.context, s.prompt_tokens + s.max_tokens) for s in self._live.values())
            self._blocks.restrict(max(change.blocks, self._blocks.needed(max(needs, default=1))))
            self._admission.context = min(self.longest, self._blocks.limit * self._blocks.block_tokens)

    def _drop_aborted(self) -> None:
        """Take those out that were aborted, whose time is up, or that waited too long for their turn."""
        now = time.monotonic()
        for sequence in list(self._live.values()):
            if sequence.aborted:
                self._release(sequence, "abort")
            elif sequence.deadline is not None and sequence.deadline < now:
                self._stepper.expire(sequence)
            elif (refusal := self._room.late(sequence, now)) is not None:
                self._end(sequence, refusal)

    def _perform(self, step: Step) -> None:
        self._stepper.perform(step)
        self._steps += 1
        if self._steps % _CHECK_EVERY == 0:
            self._blocks.check([s.blocks for s in self._scheduler.running])
        self._stepped = time.monotonic()

    def _end_all(self, why: str) -> None:
        """Whatever is broken: nobody is left waiting, and the next request is answered."""
        for sequence in list(self._live.values()):
            try:
                self._end(sequence, LaminaError(why))
            except Exception:
                _log.exception("request %s could not be ended in order", sequence.id)
        with self._wake:
            self._live.clear()
            self._scheduler.reset()
        self._stepped = time.monotonic()

    def _end(self, sequence: Sequence, last: Chunk | LaminaError) -> None:
        if sequence.state is State.FINISHED:
            return
        self._outbox.put(sequence, last)
        reason = "deadline" if isinstance(last, DeadlineError) else "error"
        self._release(sequence, reason if isinstance(last, LaminaError) else str(last.finish_reason))

    def _release(self, sequence: Sequence, reason: str) -> None:
        """The one exit: frees the blocks and forgets the request."""
        with self._wake:
            self._live.pop(sequence.id, None)
            self._scheduler.remove(sequence)
        if self.observer is not None:
            self.observer.finished(reason, time.monotonic() - sequence.arrived, sequence.generated)
