"""The engine: one thread that answers many requests at once, step by step, and sleeps when there is nothing to do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.admission import Admission, Standing, StreamingTokenizer
from lamina.deployment.engine.blocks import BlockManager
from lamina.deployment.engine.cache import Cache, bytes_per_token
from lamina.deployment.engine.change import CacheState, Change
from lamina.deployment.engine.choice import Proof, describe
from lamina.deployment.engine.draft import Draft
from lamina.deployment.engine.lifecycle import Lifecycle
from lamina.deployment.engine.ngrams import Ngrams
from lamina.deployment.engine.observer import Load, Observer
from lamina.deployment.engine.runner import Kernels, Runner
from lamina.deployment.engine.scheduler import Scheduler, Step
from lamina.deployment.engine.sequence import Sequence
from lamina.deployment.engine.sizes import suited
from lamina.deployment.engine.stepping import Stepper
from lamina.model.transformer import Transformer

_log = logging.getLogger(__name__)
_CHECK_EVERY = 1000  # steps between two checks of who owns which block


class Engine(Lifecycle):
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
        self.tokenizer, self.generation = tokenizer, dict(generation or {})
        sizes = suited(next(iter(model.state_dict().values())).device)
        max_sequences = max_sequences or sizes.sequences
        count = (cache_mb or sizes.cache_mb) * 2**20 // (bytes_per_token(model, cache) * block_tokens)
        longest = self.longest = min(context or model.spec.max_positions, model.spec.max_positions)
        count = max(1, min(count, max_sequences * -(-longest // block_tokens)))
        admission = Admission(
            tokenizer,
            version=version,
            context=min(longest, count * block_tokens),
            vocabulary=model.spec.stack.embeddings.vocabulary,
            generation=self.generation,
            seed=0 if deterministic else None,
        )
        self._blocks = BlockManager(count, block_tokens, root=version)
        chunks = {"chunk": chunk or sizes.chunk, "wide_chunk": wide_chunk or sizes.wide_chunk}
        self._scheduler = Scheduler(self._blocks, max_sequences=max_sequences, **chunks)
        super().__init__(version, tokenizer, admission, self._scheduler, queue_tokens=queue_tokens, max_wait=max_wait)
        way: dict[str, Any] = {"kernels": kernels, "cache": cache, "sole": sole, "deterministic": deterministic}
        way |= {"blocks": count, "block_tokens": block_tokens, "context": self.context, "most": max_sequences}
        self._runner = Runner(model, proof=proof, **way)
        self._admission.kernels = describe(self._runner.kernels)
        guessing: dict[str, Any] = {"speculate": speculate, "ngrams": ngrams, "draft": draft}
        self._stepper = Stepper(
            self._runner, self._blocks, self._teller, self._outbox, rows=sizes.rows, end=self._end, **guessing
        )
        self.observer, self._steps = observer, 0
        self._thread = threading.Thread(target=self._run, name=f"engine-{version}", daemon=True)
        self._thread.start()

    @property
    def runner(self) -> Runner:
        """What computes; for others only as long as no request was submitted."""
        return self._runner

    # -- called from any thread -----------------------------------------------------------------------------------

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
                    self._stepped = time.monotonic()  # rest is no delay
                if self._closing:
                    break
            try:
                with self._wake:
                    self._adapt()
                    self._drop()
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

    def _prepare(self, sequence: Sequence, sampling: SamplingParams, standing: Standing) -> None:
        adapter = sequence.adapter.key if sequence.adapter else ""
        sequence.keys = self._blocks.keys(sequence.tokens, adapter, salt=standing.salt)

    def _expire(self, sequence: Sequence) -> None:
        self._stepper.expire(sequence)

    def _perform(self, step: Step) -> None:
        self._stepper.perform(step)
        self._steps += 1
        if self._steps % _CHECK_EVERY == 0:
            self._blocks.check([s.blocks for s in self._scheduler.running])
        self._stepped = time.monotonic()

    def _end_all(self, why: str) -> None:
        """Nobody is left waiting, and the next request is answered."""
        with self._wake:  # who comes meanwhile is queued afterwards
            super()._end_all(why)
            self._live.clear()
            self._scheduler.reset()
        self._stepped = time.monotonic()
