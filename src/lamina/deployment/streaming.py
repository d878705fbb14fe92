"""One request to one engine: its prompt, its form, its chunks as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from lamina.contracts.inference import Chunk, Request
from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.admission import Standing, StreamingTokenizer
from lamina.deployment.engine.lifecycle import Lifecycle
from lamina.deployment.loaded import prompt_ids
from lamina.deployment.tools import required_calls
from lamina.kit.errors import LaminaError


async def answer(
    engine: Lifecycle, tokenizer: StreamingTokenizer, request: Request, adapter: EngineAdapter | None = None
) -> AsyncGenerator[Chunk, None]:
    """The answer, piece by piece; closing it aborts the request. Raises what ``ServingService.stream`` does."""
    prompt = await asyncio.to_thread(prompt_ids, tokenizer, request)
    constraint = request.sampling.constraint or required_calls(request, getattr(tokenizer, "tool_form", None))
    guide = None if constraint is None else await engine.guidance.guide_soon(constraint)
    # Bounded by the answer: the engine never makes more chunks than max_tokens, and one at its end.
    chunks: asyncio.Queue[Chunk | LaminaError] = asyncio.Queue(maxsize=engine.context + 2)
    engine.submit(
        request.id,
        prompt,
        replace(request.sampling, constraint=constraint),
        chunks.put_nowait,
        loop=asyncio.get_running_loop(),
        guide=guide,
        standing=Standing(request.key, request.priority, request.timeout, request.cache_salt, request.patient),
        adapter=adapter,
    )
    ended = False
    try:
        while not ended:
            item = await chunks.get()
            ended = isinstance(item, LaminaError) or item.finish_reason is not None
            if isinstance(item, LaminaError):
                raise item
            yield item
    finally:
        if not ended:
            engine.abort(request.id)
