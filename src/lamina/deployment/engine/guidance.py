"""Answers that must have a form: a JSON schema, a regular expression or a grammar, by ``llguidance``.

The library keeps an Earley parser over a lexer of derivatives and says for each place which tokens may follow (Koo et
al. 2024, arXiv 2407.08103, describe the task). Its work is bounded: a constraint that needs more is refused when it is
read, or ends its own answer with an error. What the library does not bound is bounded by reading every constraint in a
child process first (``trial``), which is ended where it takes too long.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.contracts.inference import Constraint
from lamina.contracts.tokens import Tokenizer
from lamina.deployment.engine.trial import fault_of
from lamina.kit.errors import BusyError, DocumentError, InputError, TooLargeError
from lamina.kit.jail import Jail

_MOST_CHARS = 65536  # of a constraint
_KEPT = 64  # constraints that are kept compiled
_THREADS = 2
_PREPARE_S = 2.0
PATIENCE_S = 0.15
_TRIAL_S = 1.0  # of processor time that a constraint may take to be read; most take a few milliseconds
_TRIAL_MB = 512
_TRIAL = "lamina.deployment.engine.trial:read"


class TokenGuide:
    """Where one answer stands in its constraint. Used by one thread at a time."""

    def __init__(self, matcher: Any, field: str) -> None:
        self._matcher = matcher
        self._field = field

    @property
    def done(self) -> bool:
        """Whether nothing may follow but an end."""
        return bool(self._matcher.is_stopped())

    def allowed(self, size: int) -> Tensor:
        """Which of the tokens 0 … ``size`` - 1 may come next: (size,) bool."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        allowed = np.zeros(size, bool)
        found = np.unpackbits(bits, count=min(size, bits.size * 8), bitorder="little")
        allowed[: found.size] = found
        return torch.from_numpy(allowed)

    def take(self, token: int) -> None:
        """Go on with ``token``, one that was allowed."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = _first_line(self._matcher.get_error())
            raise InputError(f"the answer's form cannot be followed: {reason}", where=self._field, hint="simplify it")


class Guidance:
    """Compiles constraints for one model: ``vocabulary`` rows of scores, ``ends`` that end an answer.

    Nobody waits longer than ``patience_s``: a slow constraint goes on being read meanwhile, for a second of processor
    time at most.
    """

    def __init__(
        self, tokenizer: Tokenizer, ends: Collection[int], vocabulary: int, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._tokenizer = tokenizer
        self._ends = sorted(e for e in ends if e < vocabulary)
        self._vocabulary = vocabulary
        self._patience = patience_s
        self._library: Any = None
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._kept: OrderedDict[Constraint, Future[Any]] = OrderedDict()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="constraints", initializer=_yield_to_others)
        self._jail = Jail(workers=_THREADS, memory_mb=_TRIAL_MB, seconds=_TRIAL_S)
        self._tried = False  # the jail's workers run
        self._timer: threading.Timer | None = None

    def prepare(self, *, after_s: float = _PREPARE_S) -> None:
        """Read the vocabulary, which takes a part of a second, before a request needs it: ``after_s`` seconds from now,
        so that a server that starts and its first answer need not share the processor with it."""
        self._timer = threading.Timer(after_s, self._read_ahead)
        self._timer.daemon = True
        self._timer.start()

    def guide(self, constraint: Constraint) -> TokenGuide:
        """A fresh guide, waited for: not on the engine's thread. Raises ``InputError``, or ``BusyError``."""
        self._ready()
        try:
            return TokenGuide(self._begin(constraint).result(self._patience).deep_copy(), constraint.field)
        except (FutureTimeout, CancelledError):
            raise _slow(constraint) from None

    async def guide_soon(self, constraint: Constraint) -> TokenGuide:
        """``guide`` for an event loop."""
        if not self._tried:
            await asyncio.to_thread(self._ready)
        work = asyncio.wrap_future(self._begin(constraint))
        try:
            return TokenGuide(
                (await asyncio.wait_for(asyncio.shield(work), self._patience)).deep_copy(), constraint.field
            )
        except TimeoutError:
            work.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for it any more
            raise _slow(constraint) from None
        except asyncio.CancelledError:
            if work.cancelled():
                raise _slow(constraint) from None
            raise

    def _begin(self, constraint: Constraint) -> Future[Any]:
        """The work of reading it, under way or done."""
        if len(constraint.text) > _MOST_CHARS:
            raise TooLargeError(f"has {len(constraint.text)} characters; at most {_MOST_CHARS}", where=constraint.field)
        with self._lock:
            work = self._kept.get(constraint) or self._threads.submit(self._compile, constraint)
            self._kept[constraint] = work
            self._kept.move_to_end(constraint)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)[1].cancel()
        return work

    def close(self) -> None:
        """End the threads and the children; what is being read ends within its second."""
        if self._timer is not None:
            self._timer.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._jail.close()

    def _read_ahead(self) -> None:
        with suppress(RuntimeError):  # it was closed at this very moment
            self._threads.submit(self._tokens)

    def _compile(self, constraint: Constraint) -> Any:
        from llguidance import LLMatcher

        fault = self._tried_fault(constraint)
        if fault is None:
            matcher, fault = fault_of(LLMatcher, self._tokens(), constraint.kind, constraint.text)
        if fault is not None:
            raise InputError(f"cannot be used: {_first_line(fault)}", where=constraint.field)
        return matcher

    def _tried_fault(self, constraint: Constraint) -> str | None:
        """What a child found wrong with it."""
        try:
            found: str | None = self._jail.call(_TRIAL, {"kind": constraint.kind, "text": constraint.text})
            return found
        except DocumentError as error:
            self._threads.submit(self._try)  # another child is there before the next constraint comes
            return f"reading it {error.what}"

    def _ready(self) -> None:
        """Vocabulary and children, before the first constraint is read: what they take counts against nobody."""
        self._tokens()
        with self._reading:
            if not self._tried:
                for begun in [self._threads.submit(self._try) for _ in range(_THREADS)]:
                    begun.result()
                self._tried = True

    def _try(self) -> None:
        with suppress(DocumentError, BusyError):
            self._jail.call(_TRIAL, {"kind": "regex", "text": "a"})

    def _tokens(self) -> Any:
        """The vocabulary as the library wants it; made once."""
        import llguidance

        with self._reading:
            if self._library is None:
                pieces: Sequence[bytes] | None = getattr(self._tokenizer, "pieces", None)
                if pieces is None:
                    raise InputError("this model's tokenizer does not tell the bytes of its tokens")
                wrapped: Any = _Vocabulary(self._tokenizer, pieces, self._ends, self._vocabulary)
                self._library = llguidance.LLTokenizer(wrapped, eos_token=self._ends or None)
            return self._library


def _slow(constraint: Constraint) -> BusyError:
    return BusyError("the constraint takes long to read", where=constraint.field, hint="ask again, or simplify it")


def _yield_to_others() -> None:
    """Linux knows priorities of threads; elsewhere nothing."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)


class _Vocabulary:
    """What ``llguidance.LLTokenizer`` asks for."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, pieces: Sequence[bytes], ends: list[int], size: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = ends[0] if ends else 0
        self.tokens = [*pieces[:size], *[b""] * (size - len(pieces))]
        self.special_token_ids: list[int] = []

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:300]
