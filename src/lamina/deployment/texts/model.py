"""What the served models of whole texts share: their queue, their limits, and the answer to what they cannot do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from lamina.contracts.texts import Abilities, Classified, Embedded, Filled, Input, TaggedTexts, Task, Writing, Written
from lamina.deployment.engine.choice import describe
from lamina.deployment.engine.observer import Load
from lamina.deployment.texts.batching import Batcher, Compute
from lamina.kit.errors import InputError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.transformer import Transformer

#: How each task is called in words, and where it is asked for.
WORDS: dict[Task, tuple[str, str]] = {
    "chat": ("chat", "/v1/chat/completions"),
    "completions": ("go on with texts", "/v1/completions"),
    "embeddings": ("make vectors of texts", "/v1/embeddings"),
    "fill-mask": ("fill in masked words", "/v1/fill-mask"),
    "classify": ("classify texts", "/v1/classify"),
    "tag": ("label words", "/v1/tag"),
    "translate": ("translate", "/v1/translate"),
    "summarize": ("summarize", "/v1/summarize"),
}


def refuse(version: str, task: Task, tasks: Sequence[Task]) -> NoReturn:
    """Raise the ``InputError`` for a model that has not learned ``task``, naming what it has."""
    known = "; ".join(f"it can {WORDS[name][0]}: {WORDS[name][1]}" for name in tasks)
    error = InputError(f"{version} cannot {WORDS[task][0]}", where="model", hint=known or None)
    error.code = "unsupported_task"
    raise error


class TextsObserver(Protocol):
    """Is told of every request; seconds from its arrival to its end."""

    def texts(self, seconds: float, prompt_tokens: int, generated: int) -> None:
        """A request of ``prompt_tokens`` ended, for which ``generated`` tokens were written."""
        ...


class NativePart(Protocol):
    """What computes in the native library."""

    def close(self) -> None:
        """Give its memory back."""
        ...


class TextModel:
    """A loaded model that answers whole texts; subclasses have what it has learned.

    The methods are those of ``contracts.texts.TextService``, of this one version.
    """

    _native: NativePart | None = None  # where it computes; closed with the model

    def __init__(
        self,
        model: Transformer,
        tokenizer: ModelTokenizer,
        abilities: Abilities,
        compute: Compute,
        *,
        version: str,
        batch_tokens: int,
        queue_tokens: int,
    ) -> None:
        self.version, self.abilities, self.context = version, abilities, abilities.context
        self.observer: TextsObserver | None = None
        self._model: Transformer | None = model
        self.tokenizer = tokenizer
        self._batcher = Batcher(compute, name=f"texts-{version}", batch_tokens=batch_tokens, queue_tokens=queue_tokens)

    def embed(self, inputs: Sequence[Input], *, truncate: bool = False) -> Embedded:
        """Vectors (N, D) of length 1."""
        refuse(self.version, "embeddings", self.abilities.tasks)

    def fill(self, texts: Sequence[str], *, k: int = 5) -> Filled:
        """Words for masks."""
        refuse(self.version, "fill-mask", self.abilities.tasks)

    def classify(self, texts: Sequence[str]) -> Classified:
        """Labels of texts."""
        refuse(self.version, "classify", self.abilities.tasks)

    def tag(self, texts: Sequence[str]) -> TaggedTexts:
        """Labels of words."""
        refuse(self.version, "tag", self.abilities.tasks)

    def translate(self, texts: Sequence[str], how: Writing) -> Written:
        """Translations."""
        refuse(self.version, "translate", self.abilities.tasks)

    def summarize(self, texts: Sequence[str], how: Writing) -> Written:
        """Summaries."""
        refuse(self.version, "summarize", self.abilities.tasks)

    @property
    def kernels(self) -> str:
        """What computes, in words (see ``engine.choice.describe``)."""
        return describe("torch" if self._native is None else "native")

    def load(self) -> Load:
        """How busy it is."""
        return self._batcher.load()

    @property
    def batches(self) -> int:
        """Batches computed so far."""
        return self._batcher.batches

    def close(self) -> None:
        """End after the batch that is computed. Idempotent."""
        self._batcher.close()
        if self._native is not None:
            self._native.close()

    def forget(self) -> None:
        """Let the weights go; only after ``close``."""
        self._model = None

    # -- for subclasses -------------------------------------------------------------------------------------------

    @property
    def model(self) -> Transformer:
        """The weights."""
        assert self._model is not None  # nothing is computed after close
        return self._model

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """In what layers that are not quantised compute."""
        first: Tensor = next(t for t in self.model.state_dict().values() if t.is_floating_point())
        return first.dtype

    def alive(self) -> None:
        """Say, from the worker's thread, that it gets on."""
        self._batcher.alive()

    def needs(self, task: Task) -> None:
        """Raise ``InputError`` where the model has not learned ``task``."""
        if task not in self.abilities.tasks:
            refuse(self.version, task, self.abilities.tasks)

    def ask(self, group: Any, rows: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
        """What the worker makes of ``rows``."""
        return self._batcher.ask(group, rows, sizes)

    def fit(self, ids: Sequence[int], number: int, limit: int | None = None) -> None:
        """Raise ``InputError`` where text ``number`` has no tokens, or more than ``limit`` (the model's context)."""
        limit = self.context if limit is None else limit
        if not ids:
            raise InputError(f"text {number} has no tokens", where="input")
        if len(ids) > limit:
            error = InputError(
                f"text {number} has {len(ids)} tokens, the model reads at most {limit}",
                where="input",
                hint="shorten it, or cut it into parts",
            )
            error.code = "context_length_exceeded"
            raise error

    @contextmanager
    def measured(self, rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Tell the observer of a request over these tokens; the list gets the numbers of tokens that were written."""
        began, written = time.monotonic(), list[int]()
        yield written
        if self.observer is not None:
            self.observer.texts(time.monotonic() - began, sum(map(len, rows)), sum(written))
