"""Answers that must have a form: a JSON schema, a regular expression or a grammar, by ``llguidance``.

The library keeps an Earley parser over a lexer of derivatives and says for each place which tokens may follow (Koo et
al. 2024, arXiv 2407.08103, describe the task). Its work is bounded: a constraint that needs more is refused when it is
read, or ends its own answer with an error.
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
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lamina.contracts.inference import Constraint
from lamina.contracts.tokens import Tokenizer
from lamina.kit.errors import BusyError, InputError, TooLargeError

_MOST_CHARS = 65536  # of a constraint
_KEPT = 64  # constraints that are kept compiled
_THREADS = 2
PATIENCE_S = 0.15
_JSON = {"whitespace_pattern": r"[ \n\t]{1,16}"}  # small models write nothing but white space where they may


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

    Nobody waits longer than ``patience_s``. The library cannot be interrupted, so a slow constraint goes on being read
    in one of few threads of low priority, until it is known or its limits end it.
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

    def prepare(self) -> None:
        """Begin to read the vocabulary, which takes a part of a second, before the first request needs it."""
        self._threads.submit(self._tokens)

    def guide(self, constraint: Constraint) -> TokenGuide:
        """A fresh guide, waited for: not on the engine's thread. Raises ``InputError``, or ``BusyError``."""
        self._tokens()
        try:
            return TokenGuide(self._begin(constraint).result(self._patience).deep_copy(), constraint.field)
        except (FutureTimeout, CancelledError):
            raise _slow(constraint) from None

    async def guide_soon(self, constraint: Constraint) -> TokenGuide:
        """``guide`` for an event loop."""
        if self._library is None:
            await asyncio.to_thread(self._tokens)
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
        """End the threads; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _compile(self, constraint: Constraint) -> Any:
        from llguidance import LLMatcher

        tokens = self._tokens()
        try:
            if constraint.kind == "json":
                grammar = LLMatcher.grammar_from_json_schema(constraint.text, defaults=cast(Any, _JSON))
            elif constraint.kind == "regex":
                grammar = LLMatcher.grammar_from_regex(constraint.text)
            else:
                grammar = LLMatcher.grammar_from_lark(constraint.text)
            matcher = LLMatcher(tokens, grammar, log_level=0, limits=_limits())
            if not matcher.is_error():
                matcher.compute_bitmask()  # the first place is the dearest: its limits are met here, not in a step
            fault = matcher.get_error() if matcher.is_error() else None
        except ValueError as error:
            fault = str(error)
        if fault is not None:
            raise InputError(f"cannot be used: {_first_line(fault)}", where=constraint.field)
        return matcher

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


def _limits() -> Any:
    import llguidance

    return llguidance.LLParserLimits(
        max_items_in_row=500,
        initial_lexer_fuel=200_000,
        step_lexer_fuel=100_000,
        step_max_items=5_000,
        max_lexer_states=20_000,
        max_grammar_size=50_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )


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
