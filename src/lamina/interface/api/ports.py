"""What the API needs beside the contracts, as protocols, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from lamina.contracts.feedback import Feedback, Interaction, InteractionStore

Scope = Literal["public", "infer", "feedback", "train", "admin", "metrics"]
Grounding = Literal["weights only", "weights + documents"]

#: What a key may be allowed to do.
SCOPES: tuple[str, ...] = ("infer", "feedback", "train", "admin", "metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the id of the key ("" while no keys exist) and what it may do."""

    user: str = ""
    scopes: frozenset[str] = frozenset(SCOPES)


class Keys(Protocol):
    """The ring of API keys. ``refresh`` may block; the other two do not."""

    def refresh(self) -> None:
        """Read what other processes changed; does nothing when called again within a second."""
        ...

    def in_use(self) -> bool:
        """Whether a key was ever made: from then on every route needs one."""
        ...

    def check(self, token: str) -> Caller | None:
        """The caller behind ``token``; None for a wrong, unknown or revoked one, in the same time."""
        ...


class NoKeys:
    """No keys at all: whoever reaches the loopback port may do everything."""

    def refresh(self) -> None:
        """Nothing to read."""

    def in_use(self) -> bool:
        """Never."""
        return False

    def check(self, token: str) -> Caller | None:
        """No token is known."""
        return None


class Documents(Protocol):
    """The documents behind the sources."""

    def document(self, id: str) -> Mapping[str, Any] | None:
        """``id, title, author, url, source, license, created, text``; None when there is no such document."""
        ...


class Store(InteractionStore, Protocol):
    """What the API asks of the feedback store beyond the contract."""

    def feedback(self, id: str) -> Feedback | None:
        """One judgement by its id."""
        ...

    def summary(self) -> Mapping[str, int]:
        """``interactions, thumbs_up, thumbs_down, corrections, train, held_out``."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A service that takes only so much at once."""

    def check_room(self, key: str, active: int) -> None:
        """Raise ``BusyError`` where a request of ``key`` would be refused now, whatever it asks; it costs nothing.

        ``active`` requests were let in and have not ended; those that the service does not know yet are on their way.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """A retriever that takes a correction up at once."""

    def learn(self, interaction: Interaction, feedback: Feedback) -> bool:
        """Take ``feedback`` (and what it supersedes) into account; whether it will be found from now on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How the API behaves. Sizes in bytes, times in seconds."""

    name: str = "lamina"  # of the stack: a model name that clients may ask for
    host: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()  # further names that the Host header may carry
    grounding: Grounding = "weights + documents"
    passages: int = 3  # sources put into the context
    context_chars: int = 4000  # of passages put into the context
    system: str | None = None  # a system message for conversations that bring none
    temperature: float | None = 0.3  # of chats that name none and have no source (with sources: 0); None: the model's
    vectors: tuple[str, ...] = ()  # names of word vectors that /v1/embeddings knows beside the versions
    examples: tuple[str, ...] = ()  # questions that the empty chat page offers
    deterministic: bool = False  # a request without a seed has the seed 0
    caches_apart: bool = False  # each API key finds only its own prompts in the prefix cache
    max_body: int = 1 << 20
    body_deadline_s: float = 30.0
    stalled_reader_s: float = 30.0
    ping_s: float = 15.0  # a comment keeps the connection open while the first token is awaited
    max_messages: int = 256
    max_choices: int = 8
    default_max_tokens: int | None = None  # where the request names none; None: the model's, else what the context has
    max_tokens: int = 32768  # the most that a request may ask for
    revision: str = field(default="lamina")  # the server's part of system_fingerprint
