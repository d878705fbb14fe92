"""What is asked: chats of given lengths about nothing, or the requests of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lamina.deployment.load.arrivals import Lengths
from lamina.deployment.load.client import Asked
from lamina.kit.errors import InputError

CHAT, COMPLETION = "/chat/completions", "/completions"
_MOST_LINES = 1_000_000
#: Common words, most of them one token in most vocabularies.
_TEXT = (
    "the sea was calm that morning and a man on the ship could see the white light of the house over the water while"
    " some people in the town went down to the old wall with their black bags to find out what had come from far away"
    " last night but no one there would say more than good day or ask why this time it took so long for him to get home"
)
_WORDS = _TEXT.split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Chats of random words: no two begin alike, so that no cache of prefixes helps.

    ``per_word`` and ``frame``: tokens of a word, and of what the server puts around a chat, as ``calibrated`` measures
    them. ``extra``: further fields of every body.
    """

    prompt: Lengths
    answer: Lengths
    model: str
    seed: int = 0
    per_word: float = 1.0
    frame: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def requests(self, stream: int = 0) -> Iterator[Asked]:
        """Requests without end, the same ones for the same seed and ``stream``."""
        generator = np.random.default_rng([self.seed, stream])
        while True:
            words = max(1, round((self.prompt.draw(generator) - self.frame) / self.per_word))
            yield self.asked(words, self.answer.draw(generator), generator)

    def asked(self, words: int, answer: int, generator: np.random.Generator) -> Asked:
        """A chat of so many words that wants an answer of ``answer`` tokens, no fewer."""
        text = " ".join(_WORDS[place] for place in generator.integers(len(_WORDS), size=words))
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": answer,
            "min_tokens": answer,
            "ignore_eos": True,
            "temperature": 0,
            **self.extra,
        }
        return Asked(CHAT, streamed(body))


def streamed(body: Mapping[str, Any]) -> dict[str, Any]:
    """``body`` as a stream that ends with its token counts."""
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


def read_requests(file: Path, *, model: str) -> list[Asked]:
    """The requests of a JSONL file: OpenAI's bodies, a chat where there are ``messages``, else a completion.

    ``model`` is asked where a line names none. Raises ``InputError`` that names the line.
    """
    found: list[Asked] = []
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(file)) from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        try:
            body = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"no JSON: {error.msg}", where=place) from None
        if not isinstance(body, dict) or ("messages" in body) == ("prompt" in body):
            raise InputError("a request has either 'messages' or a 'prompt'", where=place)
        if len(found) == _MOST_LINES:
            raise InputError(f"more than {_MOST_LINES} requests", where=str(file))
        route = CHAT if "messages" in body else COMPLETION
        found.append(Asked(route, streamed({"model": model, **body})))
    if not found:
        raise InputError("holds no requests", where=str(file))
    return found


def drawn(asked: Sequence[Asked], seed: int, stream: int = 0) -> Iterator[Asked]:
    """Requests of a file without end, in a random order, each as often as the others."""
    generator = np.random.default_rng([seed, stream])
    while True:
        for place in generator.permutation(len(asked)):
            yield asked[int(place)]
