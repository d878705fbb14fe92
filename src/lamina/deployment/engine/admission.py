"""What may enter the engine: a request is checked and settled before anything is queued for it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lamina.contracts.inference import Made, SamplingParams
from lamina.contracts.tokens import Tokenizer
from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.adjusting import Adjuster, Rules
from lamina.deployment.engine.guidance import Guidance, TokenGuide
from lamina.deployment.engine.sampling import Sampler
from lamina.deployment.engine.sequence import Deliver, Sequence, StopText, TextStream
from lamina.kit.errors import InputError

_ANSWER_TOKENS = 1024  # the longest answer, where neither request nor model says: an answer may miss its end


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands among others: whose it is, its priority (lower comes first), seconds that it has, with whom
    it shares the keys and values of its prompt: with those of the same ``salt``; and whether it waits for its turn as
    long as it takes."""

    key: str = ""
    priority: int = 0
    timeout: float | None = None
    salt: str = ""
    patient: bool = False


PLAIN = Standing()


class StreamingTokenizer(Tokenizer, Protocol):
    """A tokenizer that can also decode a stream of ids."""

    def stream(self) -> TextStream:
        """A fresh decoder of one answer."""
        ...


class Admission:
    """The limits of one engine and the defaults of its model (``generation``: its ``generation_config``).

    ``seed``: of requests that name none; None: chance.
    """

    def __init__(
        self,
        tokenizer: StreamingTokenizer,
        *,
        version: str,
        context: int,
        vocabulary: int,
        generation: Mapping[str, Any],
        seed: int | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._version = version
        self.context = self.longest = context  # now, and where memory is not short
        self._vocabulary = vocabulary
        self._generation = generation
        self._seed = seed
        self.kernels = ""  # what computes, in words
        self._ends = _end_ids(tokenizer, generation)
        self.guidance = Guidance(tokenizer, self._ends, vocabulary)

    def sequence(
        self,
        id: str,
        prompt: list[int],
        sampling: SamplingParams,
        deliver: Deliver,
        loop: asyncio.AbstractEventLoop | None,
        guide: TokenGuide | None = None,
        standing: Standing = PLAIN,
        adapter: EngineAdapter | None = None,
    ) -> Sequence:
        """The request, ready to be queued. Raises ``InputError`` (``context_length_exceeded``, a bad parameter).

        ``guide`` holds it to its constraint; made here, which takes its time, where none is given.
        """
        if guide is None and sampling.constraint is not None:
            guide = self.guidance.guide(sampling.constraint)
        left = self.context - len(prompt)
        self._check(prompt, sampling, left)
        usual = self._generation.get("max_new_tokens") or _ANSWER_TOKENS
        limit = sampling.max_tokens or max(usual, sampling.min_tokens or 0)
        sampling = replace(sampling, seed=self._seed) if sampling.seed is None else sampling
        rules = Rules.settle(sampling, self._generation, self._vocabulary)
        sampler = Sampler.settle(sampling, self._generation)
        tokens, ends = list(prompt), frozenset[int]() if sampling.ignore_eos else self._ends
        return Sequence(
            id=id,
            prompt_tokens=len(prompt),
            tokens=tokens,
            sampler=sampler,
            adapter=adapter,
            made=Made(
                seed=sampler.seed,
                prompt=hashlib.sha256(array("q", prompt).tobytes()).hexdigest(),
                kernels=self.kernels,
                deterministic=self._seed is not None,
                adapter=adapter.key if adapter else "",
            ),
            adjust=Adjuster(rules, tokens, len(prompt), ends=ends, guide=guide) if guide or not rules.idle else None,
            guide=guide,
            key=standing.key,
            priority=standing.priority,
            patient=standing.patient,
            deadline=None if standing.timeout is None else time.monotonic() + standing.timeout,
            max_tokens=min(limit, left),
            end_ids=ends,
            decoder=self._tokenizer.stream(),
            stop=StopText(tuple(s for s in sampling.stop if s)),
            deliver=deliver,
            loop=loop,
            version=self._version,
        )

    def _check(self, prompt: list[int], sampling: SamplingParams, left: int) -> None:
        if not prompt:
            raise InputError("the prompt is empty", where="prompt")
        if not 0 <= min(prompt) <= max(prompt) < self._vocabulary:
            raise InputError(f"a token id is not between 0 and {self._vocabulary - 1}", where="prompt")
        if sampling.max_tokens is not None and sampling.max_tokens < 1:
            raise InputError(f"must be at least 1, not {sampling.max_tokens}", where="max_tokens")
        if sampling.min_tokens is not None and sampling.min_tokens > (sampling.max_tokens or left):
            raise InputError(f"{sampling.min_tokens} is more than the answer may have", where="min_tokens")
        if left < 1 or (sampling.max_tokens or 0) > left:
            raise self._too_long(len(prompt), sampling.max_tokens)

    def fit(self, sequence: Sequence) -> None:
        """Shorten its answer where the context has become smaller since it was made. Raises ``InputError`` where not
        even the prompt fits any more."""
        left = self.context - sequence.prompt_tokens
        if left < 1:
            raise self._too_long(sequence.prompt_tokens, None)
        sequence.max_tokens = min(sequence.max_tokens, left)

    def _too_long(self, prompt: int, answer: int | None) -> InputError:
        asked, left = f" and an answer of {answer}" if answer else "", self.context - prompt
        hint = "shorten the conversation" if left < 1 else f"ask for at most {left} tokens"
        error = InputError(
            f"the prompt of {prompt} tokens{asked} does not fit into the context of {self.context}",
            where="messages",
            hint=hint if self.context >= self.longest else f"{hint}; the server is short of memory, ask again later",
        )
        error.code = "context_length_exceeded"
        return error


def _end_ids(tokenizer: Tokenizer, generation: Mapping[str, Any]) -> frozenset[int]:
    listed = generation.get("eos_token_id")
    more = listed if isinstance(listed, list | tuple) else [] if listed is None else [listed]
    return frozenset((*tokenizer.end_ids, *(int(token) for token in more)))
