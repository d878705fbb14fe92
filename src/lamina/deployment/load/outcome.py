"""What became of one request, as its client saw it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import orjson

_SHOWN = 200  # characters of an error


@dataclass(slots=True, eq=False)
class Outcome:
    """Times in seconds since the run began. ``intended``: when it should have been sent; latency counts from there.

    ``error``: None where the answer came whole; else its kind, as "429", "timeout", "connection", "cut", "error event".
    """

    number: int
    intended: float
    sent: float = 0.0
    ended: float = 0.0
    status: int = 0
    error: str | None = None
    said: str = ""  # the error in the server's words
    retry_after: float | None = None
    tokens: array[float] = field(default_factory=lambda: array("d"))  # when each piece of the answer came
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def ttft(self) -> float | None:
        """From when it should have been sent to the first token."""
        return self.tokens[0] - self.intended if self.tokens else None

    @property
    def e2e(self) -> float:
        """From when it should have been sent to the end."""
        return self.ended - self.intended

    @property
    def gaps(self) -> list[float]:
        """Between pieces of the answer."""
        return [b - a for a, b in zip(self.tokens, self.tokens[1:], strict=False)]

    @property
    def generated(self) -> int:
        """Tokens of the answer: as the server counts them, else the pieces that came."""
        return len(self.tokens) if self.completion_tokens is None else self.completion_tokens

    @property
    def per_token(self) -> float:
        """Seconds for each token after the first."""
        span = self.tokens[-1] - self.tokens[0] if self.tokens else 0.0
        return span / max(1, self.generated - 1)

    def take(self, data: bytes, now: float) -> None:
        """The data of one server-sent event, or the whole body of an answer that is no stream."""
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.fail("no JSON", data[:_SHOWN].decode("utf-8", "replace"))
            return
        if not isinstance(found, dict):
            return
        if found.get("error"):
            self.fail("error event" if self.status == 200 else str(self.status), _words(found["error"]))
            return
        usage = found.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
            self.completion_tokens = usage.get("completion_tokens", self.completion_tokens)
        if any(_says(choice) for choice in found.get("choices") or ()):
            self.tokens.append(now)

    def fail(self, kind: str, said: str = "") -> None:
        """It went wrong; the first reason stands."""
        if self.error is None:
            self.error, self.said = kind, said

    def record(self) -> dict[str, Any]:
        """One line of the run's record."""
        return {
            "number": self.number,
            "intended_s": round(self.intended, 6),
            "sent_s": round(self.sent, 6),
            "first_token_s": round(self.tokens[0], 6) if self.tokens else None,
            "ended_s": round(self.ended, 6),
            "status": self.status,
            "error": self.error,
            "said": self.said or None,
            "retry_after_s": self.retry_after,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.generated,
        }


def _says(choice: Any) -> bool:
    """Whether a choice of a chunk (or of a whole answer) holds a part of the answer."""
    if not isinstance(choice, dict):
        return False
    said = choice.get("delta") or choice.get("message") or choice
    return any(bool(said.get(name)) for name in ("content", "text", "reasoning_content", "tool_calls"))


def _words(error: Any) -> str:
    text = error.get("message", "") if isinstance(error, dict) else error
    return str(text)[:_SHOWN]
