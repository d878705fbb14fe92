"""What models say of whole texts: words for masks, labels, vectors, translations. Synchronous; called in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

#: What a served model can be asked for.
Task = Literal["chat", "completions", "embeddings", "fill-mask", "classify", "tag", "translate", "summarize"]
#: A text, or its token ids as they are.
Input = str | Sequence[int]


class Guess(NamedTuple):
    """A word for a mask, the token that it is, and its probability."""

    word: str
    token: int
    probability: float


class Tagged(NamedTuple):
    """A word of a text by its character offsets, its label, and that label's probability."""

    begin: int
    end: int
    label: str
    probability: float


class Translated(NamedTuple):
    """A text that a decoder wrote, of ``tokens`` tokens; ``ended``: it came to its end, no limit cut it."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a translation or summary is looked for; the names are ``transformers``', None is the model's own setting.

    ``source`` and ``target`` are BCP 47. With a ``temperature`` tokens are drawn, from ``seed`` on, by one beam.
    """

    source: str | None = None
    target: str | None = None
    num_beams: int | None = None
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] | None = None
    no_repeat_ngram_size: int | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What every answer tells beside its rows: the version that spoke, and how many tokens it read."""

    version: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded(Told):
    """``vectors`` (N, D) of length 1."""

    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled(Told):
    """For each text, for each of its masks, the likeliest words first."""

    rows: tuple[tuple[tuple[Guess, ...], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified(Told):
    """For each text its labels with their probabilities, in the model's order."""

    rows: tuple[dict[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedTexts(Told):
    """For each text its words with their labels."""

    rows: tuple[tuple[Tagged, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Told):
    """For each text what was made of it."""

    rows: tuple[Translated, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a model can be asked for. ``pairs``: the languages that it translates between, where it says so; ``width``:
    numbers of its vectors; ``labels``: of its classes; ``mask``: what stands for a hidden word."""

    tasks: tuple[Task, ...]
    context: int
    pairs: tuple[tuple[str, str], ...] = ()
    width: int | None = None
    labels: tuple[str, ...] = field(default=())
    mask: str | None = None


class TextService(Protocol):
    """The served versions, by alias or id; "" is the champion.

    Raises ``InputError`` for a model that has not learned the task and for texts that do not fit, naming the limit,
    ``NotFoundError`` for an unknown model, and ``BusyError`` where too much waits.
    """

    def abilities(self, model: str = "") -> Abilities: ...

    def embed(self, inputs: Sequence[Input], *, model: str = "", truncate: bool = False) -> Embedded: ...

    def fill(self, texts: Sequence[str], *, model: str = "", k: int = 5) -> Filled: ...

    def classify(self, texts: Sequence[str], *, model: str = "") -> Classified: ...

    def tag(self, texts: Sequence[str], *, model: str = "") -> TaggedTexts: ...

    def translate(self, texts: Sequence[str], how: Writing, *, model: str = "") -> Written: ...

    def summarize(self, texts: Sequence[str], how: Writing, *, model: str = "") -> Written: ...
