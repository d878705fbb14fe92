"""Span corruption: spans of a text are cut out, and are what the decoder is to write (Raffel et al. 2020, T5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.data.forms import Draw, Ids, Part, Row
from lamina.data.objectives.texts import interiors
from lamina.data.packing import Pieces, windows
from lamina.kit.errors import ConfigError
from lamina.kit.tokenizer import ModelTokenizer

_MOST = 100  # sentinels that are looked for: T5's


class Spans:
    """The source is a window of a document in which each cut-out span is a sentinel; the target lists each sentinel
    with its span. Both end with ``end``; the decoder begins with ``start``.

    ``noise`` of the tokens are cut out, in spans of ``mean`` tokens on average; how many follows from the window's size
    alone, so that rows can be packed ahead. As in T5's code the text begins with kept tokens and ends with a span.
    """

    holds = ("sources",)
    trimmed = False

    def __init__(
        self,
        *,
        sentinels: Sequence[int],
        start: int,
        end: int,
        source_length: int,
        noise: float = 0.15,
        mean: float = 3.0,
    ) -> None:
        if not 0 < noise < 1:
            raise ConfigError(f"must be a share above 0 and below 1, not {noise}", where="model.train.noise")
        if not mean >= 1:
            raise ConfigError(f"spans have 1 token or more on average, not {mean}", where="model.train.span")
        if not sentinels:
            raise ConfigError(
                "the tokenizer has no sentinels, which stand for what is cut out",
                where="span corruption",
                hint='[data.tokenizer] use = "unigram", sentinels = 100',
            )
        self._sentinels, self._start, self._end = np.asarray(sentinels, np.int64), start, end
        self._source_length, self._noise, self._mean = source_length, noise, mean

    @property
    def identity(self) -> Mapping[str, Any]:
        """What it was made with."""
        return {
            "use": "Spans",
            "sentinels": self._sentinels.tolist(),
            "edges": [self._start, self._end],
            "source_length": self._source_length,
            "noise": [self._noise, self._mean],
        }

    def source_length(self, length: int) -> int:
        """As given."""
        return self._source_length

    def target_length(self) -> int:
        """Tokens of the target of a window that fills a row of sources."""
        return int(self._target(self._window(1 << 62)))

    def cut(self, part: Part, length: int) -> Pieces:
        """Windows that share no token; those of one token are left out, which nothing can be cut out of."""
        window = self._window(length)
        if window < 2:
            raise ConfigError(
                f"rows of {self._source_length} and {length} tokens hold no window", where="length", hint="longer rows"
            )
        start, size = windows(*interiors(part.shards, part.documents), window)
        # One number for both sides: each takes at most its share of the row's ``length``.
        room = np.maximum(-(-self._source(size) * length // self._source_length), self._target(size))
        return Pieces(start=start, size=size, learned=self._target(size), room=room).where(size > 1)

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """One window, cut up anew in each epoch."""
        ids = np.asarray(part.shards.stream[start : start + size], np.int64)
        source, target = self.corrupt(ids, draw())
        row.put_source(segment, source)
        row.put(segment, np.concatenate([[self._start], target[:-1]]), target)

    def corrupt(self, ids: Ids, random: np.random.Generator) -> tuple[Ids, Ids]:
        """Source and target of a window (N,) of two tokens or more."""
        size = np.asarray(len(ids))
        noise, count = int(self._cut_out(size)), int(self._count(size))
        lengths = np.stack([_segments(len(ids) - noise, count, random), _segments(noise, count, random)], axis=1)
        pieces = np.split(ids, np.cumsum(lengths.ravel())[:-1])
        source: list[Ids] = []
        target: list[Ids] = []
        for number in range(count):
            sentinel = self._sentinels[number : number + 1]
            source += [pieces[2 * number], sentinel]
            target += [sentinel, pieces[2 * number + 1]]
        end = np.asarray([self._end])
        return np.concatenate([*source, end]), np.concatenate([*target, end])

    def _cut_out(self, size: Ids) -> Ids:
        return np.asarray(np.clip(np.rint(size * self._noise).astype(np.int64), 1, np.maximum(size - 1, 1)))

    def _count(self, size: Ids) -> Ids:
        """Spans of a window: not more than there are tokens to cut out, to keep, and sentinels."""
        noise = self._cut_out(size)
        most = np.minimum(np.minimum(noise, size - noise), len(self._sentinels))
        return np.clip(np.rint(noise / self._mean).astype(np.int64), 1, np.maximum(most, 1))

    def _source(self, size: Ids) -> Ids:
        return size - self._cut_out(size) + self._count(size) + 1

    def _target(self, size: Any) -> Ids:
        size = np.asarray(size)
        return self._cut_out(size) + self._count(size) + 1

    def _window(self, length: int) -> int:
        """The longest window whose source and target fit into rows; 0 where there is none."""
        sizes = np.arange(2, int(self._source_length / (1 - self._noise)) + 2)
        fits = (self._source(sizes) <= self._source_length) & (self._target(sizes) <= length)
        return int(sizes[fits].max(initial=0))


def _segments(total: int, count: int, random: np.random.Generator) -> Ids:
    """``count`` lengths (count,) of 1 or more, ``total`` together; each way to do so is as likely."""
    cuts = np.sort(random.choice(total - 1, count - 1, replace=False)) + 1 if count > 1 else np.zeros(0, np.int64)
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)


def sentinels_of(tokenizer: ModelTokenizer) -> list[int]:
    """The ids of <extra_id_0>, <extra_id_1>, … as far as there are some."""
    found: list[int] = []
    for number in range(_MOST):
        token = tokenizer.id_of(f"<extra_id_{number}>")
        if token is None:
            break
        found.append(token)
    return found
