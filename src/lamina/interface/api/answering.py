"""From a checked request to an answer that is kept: grounding, one stream for each choice, the record, the chunks.

The order is a promise: an interaction is durable before the chunk (or body) with its ``finish_reason`` is sent.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from lamina.contracts.chat import Message
from lamina.contracts.feedback import Interaction
from lamina.contracts.inference import Chunk, Passage, Request, Usage
from lamina.interface.api.context import Context
from lamina.interface.api.errors import error_response
from lamina.interface.api.events import DONE, event, merge
from lamina.interface.api.tool_calls import Pieces, ToolCalls
from lamina.interface.api.wire import Choice, Wire, usage_of
from lamina.interface.store import split_of
from lamina.kit.errors import BusyError, LaminaError

log = logging.getLogger("lamina.api")
__all__ = ["Job", "collect", "error_response", "stream"]

_PIECE = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")
_BACKGROUND: set[asyncio.Task[None]] = set()


@dataclass(kw_only=True)
class Job:
    """One call: a request for each choice, and what the record says beside the answer."""

    context: Context
    wire: Wire
    requests: Sequence[Request]
    prompts: int  # the choices of one prompt stand together
    best: int | None = None  # of them are wanted, the likeliest ones; None: all
    messages: Sequence[tuple[Message, ...]]  # as the client sent them, for each choice
    user: str
    conversation: str
    grounding: str
    passages: Sequence[Passage] = ()
    opening: str = ""  # stands before the model's words
    recited: str | None = None  # stands in place of them
    parameters: Mapping[str, Any] = field(default_factory=dict)
    include_usage: bool = False
    choices: list[Choice] = field(init=False)

    def __post_init__(self) -> None:
        self.choices = [
            Choice(index, tools=ToolCalls() if request.tools else None) for index, request in enumerate(self.requests)
        ]

    def chunks(self) -> AsyncGenerator[tuple[int, Chunk], None]:
        """The pieces of all choices as they come."""
        if self.recited is not None:
            return merge([self._recite(self.recited)])
        return merge([self.context.service.stream(request) for request in self.requests])

    async def _recite(self, text: str) -> AsyncGenerator[Chunk, None]:
        """``text`` word by word, in the name of the version that was asked."""
        name = self.requests[0].model or "champion"
        version = (await asyncio.to_thread(self.context.releases.resolve, name)).id
        for piece in _PIECE.findall(text):
            yield Chunk(text=piece, version=version)
        usage = Usage(prompt_tokens=0, completion_tokens=0)
        yield Chunk(version=version, finish_reason="stop", usage=usage)

    def take(self, choice: Choice, chunk: Chunk) -> Pieces:
        """Add ``chunk`` to its choice; what it adds. Raises where the service gave up."""
        choice.version = chunk.version or choice.version
        if chunk.finish_reason == "abort":
            raise BusyError("the server stopped before the answer was complete", hint="ask again")
        if chunk.finish_reason == "error":
            raise LaminaError("the engine failed on this request")
        text = chunk.text
        if not choice.opened:
            choice.opened = True
            text = self.opening + text
        if text:
            choice.text.append(text)
        choice.logprobs.extend(chunk.logprobs)
        choice.tokens.extend(chunk.tokens)
        if chunk.finish_reason is not None:
            choice.last = chunk
        return choice.parsed(text, last=chunk.finish_reason is not None)

    async def keep(self, choice: Choice, *, cut: bool = False) -> None:
        """Make the interaction durable; ``cut``: the client left before the end."""
        last = choice.last
        late = last is not None and last.finish_reason == "deadline"
        finish_reason = "abort" if cut else "deadline" if late else choice.finish_reason or "stop"
        usage = last.usage if last and last.usage else Usage(prompt_tokens=0, completion_tokens=0)
        id = self.wire.id if choice.index == 0 else f"{self.wire.id}.{choice.index}"
        interaction = Interaction(
            id=id,
            conversation=self.conversation,
            user=self.user,
            messages=tuple(self.messages[choice.index]),
            answer=choice.answer,
            version=choice.version,
            finish_reason=finish_reason,
            grounding=self.grounding,
            sources=tuple(p.document_id for p in self.passages),
            parameters=orjson.dumps(self.parameters).decode(),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            mean_logprob=last.mean_logprob if last else None,
            mean_entropy=last.mean_entropy if last else None,
            split=split_of(self.user, self.conversation),
            created=datetime.now(UTC),
            made=self._made(choice),
        )
        await self.context.stored(self.context.store.add_interaction, interaction)
        self.context.answers.labels(finish_reason).inc()

    def _made(self, choice: Choice) -> str:
        """What the answer can be made again from; "" where no model of ours made it, or it did not come to its end."""
        made = choice.last.made if choice.last else None
        if made is None:
            return ""
        request = self.requests[0]
        told: dict[str, Any] = {**asdict(made), "tokens": choice.tokens}
        told |= {"passages": [[p.kind, p.document_id, p.start] for p in self.passages]} if self.passages else {}
        if request.tools:
            told["tools"] = [[tool.name, tool.definition] for tool in request.tools]
            told |= {"tool_choice": request.tool_choice, "parallel_tool_calls": request.parallel_tool_calls}
        return orjson.dumps(told).decode()

    def usage(self) -> dict[str, Any]:
        """Token counts of the call."""
        usages = [c.last.usage for c in self.choices if c.last and c.last.usage]
        return usage_of(usages, self.prompts) if usages else usage_of([Usage(prompt_tokens=0, completion_tokens=0)], 1)

    def choose(self) -> None:
        """Keep the ``best`` choices of each prompt, by mean log-probability of their tokens (OpenAI's ``best_of``)."""
        each = len(self.choices) // self.prompts
        if self.best is None or self.best >= each:
            return
        groups = [self.choices[start : start + each] for start in range(0, len(self.choices), each)]
        self.messages = [messages for messages in self.messages[::each] for _ in range(self.best)]
        self.choices = [choice for group in groups for choice in sorted(group, key=_likely, reverse=True)[: self.best]]
        for index, choice in enumerate(self.choices):
            choice.index = index

    def check_complete(self) -> None:
        """Raise where the service ended a choice without a finish reason."""
        if any(choice.last is None for choice in self.choices):
            raise LaminaError("the engine ended an answer without saying why")

    def keep_cut(self) -> None:
        """Keep what was said before the client left, in the background: a stopped answer can be judged too."""
        for choice in self.choices:
            if choice.last is None and any(choice.text):
                task = asyncio.ensure_future(self._keep_cut(choice))
                _BACKGROUND.add(task)
                task.add_done_callback(_BACKGROUND.discard)

    async def _keep_cut(self, choice: Choice) -> None:
        try:
            await self.keep(choice, cut=True)
        except LaminaError as error:
            log.error("a stopped answer was not stored: %s", error)


def _likely(choice: Choice) -> float:
    mean = choice.last.mean_logprob if choice.last else None
    return -math.inf if mean is None else mean


async def stream(job: Job) -> AsyncGenerator[bytes, None]:
    """The answer as server-sent events."""
    wire = job.wire
    chunks = job.chunks()
    try:
        async for index, chunk in chunks:
            choice = job.choices[index]
            first = not choice.opened
            pieces = job.take(choice, chunk)
            opening = wire.opening(index) if first else None
            if opening is not None:
                yield event(wire.chunk(choice.version, [opening]))
            if pieces or chunk.logprobs:
                yield event(wire.chunk(choice.version, [wire.delta(choice, pieces, chunk.logprobs)]))
            if chunk.finish_reason is not None:
                await job.keep(choice)
                yield event(wire.chunk(choice.version, [wire.final(choice)]))
        job.check_complete()
        if job.include_usage:
            yield event(wire.usage_chunk(job.choices[0].version, job.usage()))
        yield DONE
    except (asyncio.CancelledError, GeneratorExit):
        job.keep_cut()
        raise
    finally:
        await chunks.aclose()


async def collect(job: Job) -> dict[str, Any]:
    """The answer as one object."""
    chunks = job.chunks()
    try:
        async for index, chunk in chunks:
            job.take(job.choices[index], chunk)
    finally:
        await chunks.aclose()
    job.check_complete()
    usage = job.usage()  # of all that were made
    job.choose()
    for choice in job.choices:
        await job.keep(choice)
    return job.wire.whole(job.choices, usage)
