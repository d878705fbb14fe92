"""A model's service without a model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable

from lamina.contracts.inference import Alternative, Chunk, Request, TokenLogprob, Usage
from lamina.kit.errors import InputError, LaminaError


class EchoService:
    """An ``InferenceService`` that says the last message again, a word a token.

    ``delay`` seconds pass before each token; ``fail_after`` tokens the ``error`` is raised. ``running`` and
    ``aborted`` count requests.
    """

    def __init__(
        self,
        *,
        answer: Callable[[Request], str] | None = None,
        version: str = "v1",
        delay: float = 0.0,
        context: int = 4096,
        fail_after: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.answer = answer or _last_words
        self.version = version
        self.delay = delay
        self.context = context
        self.fail_after = fail_after
        self.error = error or LaminaError("the engine failed")
        self.requests: list[Request] = []
        self.running = 0
        self.aborted = 0

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Yield the answer word by word; closing the iterator counts as an abort."""
        self.requests.append(request)
        self.running += 1
        finished = False
        try:
            prompt = sum(len(m.content.split()) for m in request.messages) + len(request.prompt or ())
            if prompt > self.context:
                error = InputError(f"the request has {prompt} tokens, the model's context is {self.context}")
                error.code = "context_length_exceeded"
                raise error
            async for chunk in self._words(request, prompt):
                finished = chunk.finish_reason is not None
                yield chunk
        finally:
            self.running -= 1
            self.aborted += not finished

    async def _words(self, request: Request, prompt: int) -> AsyncIterator[Chunk]:
        words = self.answer(request).split(" ")
        tokens = [word if place == 0 else f" {word}" for place, word in enumerate(words)]
        limit = request.sampling.max_tokens
        reason = "length" if limit is not None and limit < len(tokens) else "stop"
        tokens = tokens[:limit]
        for place, text in enumerate(tokens):
            await asyncio.sleep(self.delay)
            if self.fail_after is not None and place >= self.fail_after:
                raise self.error
            yield Chunk(text=text, tokens=(place,), logprobs=_logprobs(request, place, text), version=self.version)
        yield Chunk(
            finish_reason="length" if reason == "length" else "stop",
            usage=Usage(prompt_tokens=prompt, completion_tokens=len(tokens)),
            version=self.version,
            mean_logprob=math.log(0.5),
            mean_entropy=math.log(2),
        )


def _last_words(request: Request) -> str:
    if request.messages:
        return request.messages[-1].content
    prompt = request.prompt
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt or ()))


def _logprobs(request: Request, token: int, text: str) -> tuple[TokenLogprob, ...]:
    wanted = request.sampling.logprobs
    if wanted is None:
        return ()
    top = (Alternative(text, math.log(0.5)), Alternative(" other", math.log(0.25)))
    return (TokenLogprob(token, text, math.log(0.5), top[:wanted]),)
