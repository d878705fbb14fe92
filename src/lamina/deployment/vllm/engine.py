"""An engine whose tokens vLLM draws: the requests, their queue, their text and their ends stay the house's own.

A thread runs an event loop; vLLM's engine lives in it and computes in processes of its own. At most ``max_sequences``
requests are with vLLM at a time; the others wait in the house's queue, so that keys take turns, priorities, limits and
deadlines mean what they mean with ``engine.Engine``, but that nobody who is with vLLM makes room for one that is more
urgent. Its answers tell no entropy and cannot be made again (``made`` is None): a seed gives the same answer only where
vLLM happens to compute the same batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import Any

import torch
from torch import Tensor

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.adjusting import Rules
from lamina.deployment.engine.admission import Admission, Standing, StreamingTokenizer
from lamina.deployment.engine.lifecycle import Lifecycle
from lamina.deployment.engine.observer import Load
from lamina.deployment.engine.sequence import Sequence, State
from lamina.deployment.vllm.asked import Asked, asked_of
from lamina.deployment.vllm.backend import Library, LibraryEndedError, Setting, Told, describe
from lamina.deployment.vllm.line import Line
from lamina.deployment.vllm.taking import Taker, last
from lamina.kit.errors import InputError, LaminaError

_log = logging.getLogger(__name__)
_TICK_S = 0.05  # between two looks for whose time is up
_STARTS_S = 1800.0  # that vLLM may take to start: it reads and may compile the model


class VllmEngine(Lifecycle):
    """Answers by vLLM over the folder of ``setting``; started when it is made.

    ``vocabulary`` rows of scores; ``generation``: the model's ``generation_config``; ``queue_tokens`` caps the prompts
    that wait, ``max_wait`` the seconds that one waits; ``release``, if it is set, is called by ``forget``, when nothing
    reads the folder any more.
    Raises ``LaminaError`` where vLLM cannot serve the model.
    """

    def __init__(
        self,
        setting: Setting,
        tokenizer: StreamingTokenizer,
        *,
        version: str,
        vocabulary: int,
        generation: Mapping[str, Any],
        queue_tokens: int = 32768,
        max_wait: float | None = None,
    ) -> None:
        self.generation = dict(generation)
        self._setting, self._vocabulary = setting, vocabulary
        self.release: Callable[[], None] | None = None
        admission = Admission(
            tokenizer, version=version, context=setting.context, vocabulary=vocabulary, generation=self.generation
        )
        admission.kernels = describe()
        self._line = Line(setting.sequences)
        super().__init__(version, tokenizer, admission, self._line, queue_tokens=queue_tokens, max_wait=max_wait)
        self._taker = Taker(self._teller, self._outbox)
        self._asked: dict[str, Asked] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # the loop's own
        self._ended = False
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name=f"vllm-{version}", daemon=True)
        self._thread.start()
        try:
            started.result(_STARTS_S)
        except BaseException:
            self._closing = True
            self.guidance.close()
            raise

    # -- called from any thread -----------------------------------------------------------------------------------

    def load(self) -> Load:
        """How busy it is; of the cache, what the requests that run take of it.

        Steps are seen by the tokens that they bring: while prompts alone are read there is no age. Where vLLM has
        stopped it is infinite.
        """
        with self._wake:
            running, waiting = len(self._line.running), len(self._line.waiting)
            held = sum(len(s.tokens) for s in self._line.running)
            decoding = any(s.generated for s in self._line.running)
            age = time.monotonic() - self._stepped if decoding else None
        usage = min(1.0, held / self._setting.cache_tokens)
        return Load(running=running, waiting=waiting, cache_usage=usage, step_age=float("inf") if self._ended else age)

    def scores(self, ids: list[int]) -> Tensor:
        """Log-probabilities (V,) float32 of the token after ``ids``."""
        asked = Asked({"max_tokens": 1, "temperature": 0.0, "logprobs": -1, "detokenize": False}, None, "")

        async def ask() -> Told:
            async with aclosing(self._library.generate("scores", ids, asked)) as steps:
                return await anext(steps)

        told = asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_STARTS_S)
        found = torch.full((self._vocabulary,), -torch.inf)
        for token, logprob in told.drawn[0].top or ():
            found[token] = logprob
        return found

    def forget(self) -> None:
        """Let go of the folder, after ``close``."""
        if self.release is not None:
            self.release()

    def _prepare(self, sequence: Sequence, sampling: SamplingParams, standing: Standing) -> Asked:
        if sequence.adapter is not None:
            raise InputError("a model that vLLM answers has no adapters", where="model", hint='engine = "lamina"')
        sequence.made = None
        rules = Rules.settle(sampling, self.generation, self._vocabulary)
        return asked_of(sequence, sampling, rules, standing.salt)

    def _check_open(self) -> None:
        super()._check_open()
        if self._ended:
            raise LibraryEndedError("vLLM has stopped", hint="start the server again")

    def _enter(self, sequence: Sequence, ready: Asked) -> None:
        self._asked[sequence.id] = ready
        super()._enter(sequence, ready)

    def _ring(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be woken
            self._loop.call_soon_threadsafe(self._bell.set)

    # -- the loop's thread --------------------------------------------------------------------------------------------

    def _run(self, started: Future[None]) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: Future[None]) -> None:
        self._loop, self._bell = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._library = Library(self._setting)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        try:
            while not self._closing:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._bell.wait(), _TICK_S if self._live else None)
                self._bell.clear()
                self._drop()
                self._admit()
                self._outbox.flush()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        with self._wake:
            self._ended = True  # also where the loop failed: nobody is let in who would wait for ever
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._end_all("the model was unloaded before the answer was complete")
        self._outbox.flush()
        self._library.close()
        del self._library

    def _expire(self, sequence: Sequence) -> None:
        self._end(sequence, last(sequence.expire()))

    def _admit(self) -> None:
        """Hand those to vLLM whose turn it is."""
        with self._wake:
            while (sequence := self._line.take()) is not None:
                task = self._loop.create_task(self._answer(sequence, self._asked[sequence.id]))
                self._tasks[sequence.id] = task

    async def _answer(self, sequence: Sequence, asked: Asked) -> None:
        """One request, from vLLM to whoever asked."""
        prompt, priority = sequence.tokens[: sequence.prompt_tokens], sequence.priority
        try:
            async with aclosing(self._library.generate(sequence.id, prompt, asked, priority=priority)) as steps:
                async for told in steps:
                    self._stepped = time.monotonic()
                    if (end := self._taker.take(sequence, told)) is not None:
                        self._end(sequence, end)
                    self._loop.call_soon(self._outbox.flush)  # after those that woke with it
                    if sequence.state is State.FINISHED or sequence.aborted:
                        break
            if not sequence.aborted:  # vLLM has no more to say of one that goes on
                self._end(sequence, LaminaError("vLLM ended this answer without a reason"))
        except LibraryEndedError as error:
            _log.error("vLLM has stopped; %s answers nothing any more", self.version)
            with self._wake:
                self._ended = True
            self._end(sequence, error)
        except LaminaError as error:
            self._end(sequence, error)
        except Exception:
            _log.exception("request %s failed", sequence.id)
            self._end(sequence, LaminaError("the model failed while it answered this request"))
        finally:
            self._bell.set()

    def _leave(self, sequence: Sequence, reason: str) -> None:
        """vLLM's part of it ends, too."""
        with self._wake:  # before the id may be used again
            self._asked.pop(sequence.id, None)
            task = self._tasks.pop(sequence.id, None)
            super()._leave(sequence, reason)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
