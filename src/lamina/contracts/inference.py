"""Asking a model: the request, the pieces of the answer, and the services that give it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.chat import Message, Tool

FinishReason = Literal["stop", "length", "deadline", "abort", "error"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must be, from its first character to its last.

    ``text`` is a JSON schema, a regular expression (Rust's syntax), or a grammar in Lark's syntax; ``field`` is the
    request's field that asks for it: errors name it.
    """

    kind: Literal["json", "regex", "grammar"]
    text: str
    field: str = "response_format"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is drawn. ``None`` means: the model's generation_config, else the field's neutral value."""

    temperature: float | None = None  # 0 = greedy
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None  # same request and seed, same answer, whatever else is in the batch
    max_tokens: int | None = None  # default: the model's, else 1,024; never more than the context has left
    stop: tuple[str, ...] = ()  # left out of the answer
    logprobs: int | None = None  # None = none; 0 = of the chosen token; k = and of the k likeliest
    min_p: float | None = None  # tokens less likely than this share of the likeliest are left out
    repetition_penalty: float | None = None  # scores of what prompt or answer hold: divided, or multiplied below 0
    presence_penalty: float | None = None  # taken off what the answer holds
    frequency_penalty: float | None = None  # the same, for each time
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token, what is added to its score)
    min_tokens: int | None = None  # before an end may come
    ignore_eos: bool = False  # go on after an end, up to max_tokens
    constraint: Constraint | None = None  # the form that the answer must have


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the service: either ``messages`` (chat, rendered by the model's template) or ``prompt``."""

    id: str
    model: str = ""  # alias or version; "" = the champion
    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    key: str = ""  # whose request it is: keys take turns
    cache_salt: str = ""  # keys and values of prompts are shared with requests of the same one only
    priority: int = 0  # lower comes first
    timeout: float | None = None  # seconds after which the answer ends as far as it came
    patient: bool = False  # it waits for its turn as long as it takes, as others of its call have begun
    tools: tuple[Tool, ...] = ()  # that the assistant may ask for
    tool_choice: Literal["auto", "required"] = "auto"  # required: nothing but calls
    parallel_tool_calls: bool = True  # several calls in one answer, where calls are required


class Alternative(NamedTuple):
    """A token that could stand in a place: text, log-probability (nats), bytes where they are known."""

    text: str
    logprob: float
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its text and log-probability (nats), the likeliest alternatives, and its bytes where they are known.

    A token may hold part of a character: its text has U+FFFD then, its bytes are right.
    """

    token: int
    text: str
    logprob: float
    top: tuple[Alternative, ...] = ()
    raw: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What an answer was made with beside its version and its request: enough to make it again."""

    seed: int
    prompt: str  # sha256 of the prompt's token ids
    kernels: str  # what computed it, in words
    deterministic: bool  # whether nothing else that was asked could change it
    adapter: str = ""  # name@sha256; "" = none


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an answer. ``text`` may be empty (a token that ends inside a character).

    The last chunk, and only it, has ``finish_reason`` and ``usage``.
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    version: str = ""  # the model version that speaks; the same for the whole answer
    mean_logprob: float | None = None  # on the last chunk: mean log-probability of the answer's tokens, nats
    mean_entropy: float | None = None  # on the last chunk: mean entropy of the token distributions, nats
    made: Made | None = None  # on the last chunk, where our own engine made it


class InferenceService(Protocol):
    """A model that answers. Closing the iterator aborts the request and frees what it held."""

    def stream(self, request: Request) -> AsyncIterator[Chunk]: ...


class Embedder(Protocol):
    """Texts to vectors."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), D), unit length."""
        ...


class Filler(Protocol):
    """A masked language model: fills ``[MASK]`` in texts."""

    def fill(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """For each text candidates for its first mask, (word, probability), the likeliest first."""
        ...


class Scored(NamedTuple):
    """How likely a language model finds a text: Σ -ln p over ``tokens`` tokens."""

    nats: float
    tokens: int


class Scorer(Protocol):
    """A language model that reads and does not write."""

    def score(self, texts: Sequence[str]) -> Sequence[Scored]:
        """How likely each text is. Raises ``FetchError`` where the model does not answer."""
        ...


class Classifier(Protocol):
    """Texts to labels, each with its probability."""

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]: ...


class Translator(Protocol):
    """Texts into another language."""

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text; languages are BCP 47. Raises ``InputError`` for a pair it does not have."""
        ...


class Thesaurus(Protocol):
    """Words that can stand for a word."""

    def synonyms(self, word: str, pos: str | None = None) -> Sequence[str]:
        """Synonyms of ``word`` (lower case), the most common first; ``pos``: n, v, a, r, where it is known."""
        ...

    def related(self, word: str) -> Sequence[str]:
        """Words near ``word`` in meaning that are no synonyms (hypernyms, siblings, neighbours)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document, or an accepted correction, found for a query.

    ``score`` lies in [0, 1]: the share of the query's meaning (its words weighted by rarity) that the passage covers.
    For a correction, ``question`` is the question that was asked and ``text`` the corrected answer.
    """

    kind: Literal["document", "correction"]
    document_id: str  # for a correction: the feedback's id
    text: str
    score: float
    start: int = 0  # character offset in the document
    title: str | None = None
    url: str | None = None
    source: str | None = None
    license: str | None = None
    question: str | None = None


class Retriever(Protocol):
    """Finds what the documents and the accepted corrections say about a query; best first, only what is relevant."""

    def search(self, query: str, k: int) -> list[Passage]: ...
