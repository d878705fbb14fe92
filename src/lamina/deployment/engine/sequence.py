"""One request inside the engine: its tokens, its blocks, its text so far, and how it ends."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lamina.contracts.inference import Alternative, Chunk, FinishReason, Made, TokenLogprob, Usage
from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.adjusting import Adjuster
from lamina.deployment.engine.guidance import TokenGuide
from lamina.deployment.engine.place import Place
from lamina.deployment.engine.sampling import Drawn, Sampler
from lamina.deployment.engine.speculation import Guesser
from lamina.kit.errors import DeadlineError, LaminaError

Deliver = Callable[[Chunk | LaminaError], None]


class TextStream(Protocol):
    """Ids to text, complete characters only."""

    def push(self, token_id: int) -> str:
        """The text that ``token_id`` completes; may be empty."""
        ...

    def finish(self) -> str:
        """What is left at the end."""
        ...


class State(enum.Enum):
    """WAITING → RUNNING → FINISHED; preemption goes back to WAITING."""

    WAITING = enum.auto()
    RUNNING = enum.auto()
    FINISHED = enum.auto()


class StopText:
    """Finds stop strings that may span several tokens; holds back only what could still become one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(text that may be shown, whether a stop string was reached); what comes after a stop string is dropped."""
        if not self._stops:
            return text, False
        self._held += text
        places = [place for place in (self._held.find(stop) for stop in self._stops) if place >= 0]
        if places:
            shown, self._held = self._held[: min(places)], ""
            return shown, True
        keep = self._open()
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return shown, False

    def finish(self) -> str:
        """What was held back and turned out not to be a stop string."""
        shown, self._held = self._held, ""
        return shown

    def _open(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max(len(stop) for stop in self._stops) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """A request in the engine. ``tokens``: prompt and answer; ``computed`` of them are in ``blocks``."""

    id: str
    prompt_tokens: int
    tokens: list[int]
    sampler: Sampler
    max_tokens: int
    end_ids: frozenset[int]
    decoder: TextStream
    stop: StopText
    deliver: Deliver
    loop: asyncio.AbstractEventLoop | None
    version: str
    key: str = ""  # whose it is: keys take turns
    priority: int = 0  # lower comes first
    patient: bool = False  # it waits for its turn as long as it takes
    turn: int = 0  # of arrival, given by the scheduler
    deadline: float | None = None  # on the monotonic clock
    adjust: Adjuster | None = None  # where scores are to be changed before a draw
    guide: TokenGuide | None = None  # where it stands in the form that it must have
    guessers: tuple[Guesser, ...] = ()  # by which steps take several of its tokens, where that pays
    made: Made | None = None  # what it is answered with
    adapter: EngineAdapter | None = None  # what is added to the model's weights for it
    state: State = State.WAITING
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)  # hash chain of the prompt's full blocks
    remembered: int = 0  # of them, how many the prefix cache knows from this sequence
    cached_tokens: int = 0
    preemptions: int = 0
    aborted: bool = False
    reason: FinishReason | None = None
    logprob_sum: float = 0.0
    entropy_sum: float = 0.0
    arrived: float = field(default_factory=time.monotonic)
    last_token: float | None = None

    @property
    def place(self) -> Place:
        """Where its next tokens go."""
        return Place(self.blocks, self.computed, self.adapter)

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def remaining(self) -> int:
        """Tokens whose keys and values are still to be computed."""
        return len(self.tokens) - self.computed

    @property
    def untouched(self) -> bool:
        """It waits, and nothing was computed for it yet."""
        return self.state is State.WAITING and not self.preemptions

    @property
    def decoding(self) -> bool:
        """Only the last token, one that was drawn, is still to be computed."""
        return self.remaining == 1 and self.generated > 0

    def take(self, drawn: Drawn, told: Callable[[int], tuple[str, bytes | None]]) -> Chunk:
        """Append a drawn token; the chunk to send for it (with ``finish_reason`` if the answer ends here).

        ``told``: a token's text and bytes.
        """
        self.tokens.append(drawn.token)
        self.logprob_sum += drawn.logprob
        self.entropy_sum += drawn.entropy
        if drawn.token in self.end_ids:
            return self.finish("stop", self._rest()[0])
        if self.guide is not None:
            self.guide.take(drawn.token)
        text, stopped = self.stop.push(self.decoder.push(drawn.token))
        tokens = (drawn.token,)
        logprobs: tuple[TokenLogprob, ...] = ()
        if drawn.top is not None:
            logprobs = (_logprob(drawn, drawn.top, told),)
        if stopped:
            return self.finish("stop", text, tokens, logprobs)
        complete = self.guide is not None and self.guide.done  # nothing but an end may follow: it need not be drawn
        if complete or self.generated >= self.max_tokens:
            rest, stopped = self._rest()
            return self.finish("stop" if stopped or complete else "length", text + rest, tokens, logprobs)
        return Chunk(text=text, tokens=tokens, logprobs=logprobs, version=self.version)

    def expire(self) -> Chunk | DeadlineError:
        """The time is up: what there is of the answer, or an error where there is nothing."""
        if not self.generated:
            return DeadlineError(
                "the answer could not be begun within its timeout", hint="ask again, or give it longer"
            )
        return self.finish("deadline", self._rest()[0])

    def cut(self) -> Chunk:
        """Nothing more comes, though it has not come to its end: what there is of the answer."""
        return self.finish("length", self._rest()[0])

    def _rest(self) -> tuple[str, bool]:
        """The text that was held back, and whether a stop string was in it after all."""
        text, stopped = self.stop.push(self.decoder.finish())
        return (text, True) if stopped else (text + self.stop.finish(), False)

    def finish(
        self,
        reason: FinishReason,
        text: str = "",
        tokens: tuple[int, ...] = (),
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> Chunk:
        """The last chunk; sets ``reason``."""
        self.reason = reason
        drawn = self.generated
        return Chunk(
            text=text,
            tokens=tokens,
            logprobs=logprobs,
            finish_reason=reason,
            usage=Usage(prompt_tokens=self.prompt_tokens, completion_tokens=drawn, cached_tokens=self.cached_tokens),
            version=self.version,
            mean_logprob=self.logprob_sum / drawn if drawn else None,
            mean_entropy=self.entropy_sum / drawn if drawn else None,
            made=self.made,
        )


def _logprob(
    drawn: Drawn, likely: tuple[tuple[int, float], ...], told: Callable[[int], tuple[str, bytes | None]]
) -> TokenLogprob:
    top = []
    for token, value in likely:
        text, raw = told(token)
        top.append(Alternative(text, value, raw))
    text, raw = told(drawn.token)
    return TokenLogprob(drawn.token, text, drawn.logprob, tuple(top), raw)
