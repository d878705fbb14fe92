"""Encoders, served: words for masks (arXiv 1810.04805), labels of texts and of words, vectors (arXiv 1908.10084)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.contracts.texts import Abilities, Classified, Embedded, Filled, Guess, Input, Tagged, TaggedTexts
from lamina.deployment.engine.native.encoder import NativeEncoder
from lamina.deployment.texts.model import TextModel
from lamina.kit.errors import InputError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.evaluate.embedding import Pooling, pooled
from lamina.model.generate import padded
from lamina.model.transformer import Transformer

MASK = "[MASK]"  # understood whatever the model's own mask token is
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSettings:
    """What a model's folder says beyond its shape. ``several``: a text may have several labels at once; ``longest``:
    tokens of a text whose vector is made."""

    pooling: Pooling = "mean"
    longest: int | None = None
    several: bool = False


class EncoderModel(TextModel):
    """An encoder, or a decoder with an output for classes. Takes the model over: with ``native`` kernels, which are its
    own, the blocks' weights are let go."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: ModelTokenizer,
        abilities: Abilities,
        settings: EncoderSettings,
        *,
        version: str,
        queue_tokens: int = 1 << 18,
        native: NativeEncoder | None = None,
    ) -> None:
        self._settings = settings
        self._native: NativeEncoder | None = native
        if native is not None:
            model.stack.blocks = nn.ModuleList()
        self._longest = min(settings.longest or abilities.context, abilities.context)
        self._mask = tokenizer.special_id("mask_token")
        own = tokenizer.token_of(self._mask) if self._mask is not None else None
        self._masks = re.compile("|".join(map(re.escape, {MASK, own or MASK})))
        super().__init__(
            model,
            tokenizer,
            abilities,
            self._compute,
            version=version,
            batch_tokens=8192,
            queue_tokens=queue_tokens,
        )

    def embed(self, inputs: Sequence[Input], *, truncate: bool = False) -> Embedded:
        """Vectors (N, D) of length 1; a longer text is refused, or with ``truncate`` cut at its end."""
        self.needs("embeddings")
        rows = [self._row(given, number, truncate) for number, given in enumerate(inputs)]
        with self.measured(rows):
            found = self.ask(("embed",), rows, [len(row) for row in rows])
        return Embedded(version=self.version, prompt_tokens=sum(map(len, rows)), vectors=np.stack(found))

    def fill(self, texts: Sequence[str], *, k: int = 5) -> Filled:
        """For each mask of each text the ``k`` likeliest words; control tokens are none."""
        self.needs("fill-mask")
        rows = [self._masked(text, number) for number, text in enumerate(texts)]
        with self.measured([ids for ids, _ in rows]):
            found = self.ask(("fill", k), rows, [len(ids) for ids, _ in rows])
        told = tuple(tuple(self._guesses(*mask) for mask in masks) for masks in found)
        return Filled(version=self.version, prompt_tokens=sum(len(ids) for ids, _ in rows), rows=told)

    def classify(self, texts: Sequence[str]) -> Classified:
        """The labels of each text with their probabilities."""
        self.needs("classify")
        rows = [self.tokenizer.framed(text).ids for text in texts]
        for number, row in enumerate(rows):
            self.fit(row, number)
        with self.measured(rows):
            found = self.ask(("classify",), rows, [len(row) for row in rows])
        told = tuple(dict(zip(self.abilities.labels, map(float, row), strict=True)) for row in found)
        return Classified(version=self.version, prompt_tokens=sum(map(len, rows)), rows=told)

    def tag(self, texts: Sequence[str]) -> TaggedTexts:
        """The label of each word (run of letters and digits, or single mark): that of its first token."""
        self.needs("tag")
        rows: list[list[int]] = []
        words: list[list[tuple[int, int, int]]] = []
        for number, text in enumerate(texts):
            row, places = self._words(text)
            self.fit(row, number)
            rows.append(row)
            words.append(places)
        with self.measured(rows):
            found = self.ask(("tag",), rows, [len(row) for row in rows])
        labels = self.abilities.labels
        told = tuple(
            tuple(Tagged(begin, end, labels[best[place]], float(sure[place])) for begin, end, place in places)
            for places, (best, sure) in zip(words, found, strict=True)
        )
        return TaggedTexts(version=self.version, prompt_tokens=sum(map(len, rows)), rows=told)

    # -- tokens ---------------------------------------------------------------------------------------------------

    def _row(self, given: Input, number: int, truncate: bool) -> list[int]:
        if isinstance(given, str):
            ids = self.tokenizer.encode(given)
        else:
            ids = list(given)
            vocabulary = self.model.spec.stack.embeddings.vocabulary
            if ids and not 0 <= min(ids) <= max(ids) < vocabulary:
                raise InputError(f"a token id of text {number} is not between 0 and {vocabulary - 1}", where="input")
        if not ids:
            raise InputError(f"text {number} has no tokens", where="input")
        row = self.tokenizer.frame.around(ids).ids
        if truncate and len(row) > self._longest:
            return row[: self._longest - 1] + row[-1:]  # the end token stays
        self.fit(row, number, self._longest)
        return row

    def _masked(self, text: str, number: int) -> tuple[list[int], list[int]]:
        """The ids of a text with masks in it, and their places."""
        parts = self._masks.split(text)
        if len(parts) == 1 or self._mask is None:
            raise InputError(f"text {number} has no {MASK}", where="input", hint=f"write {MASK} where a word is hidden")
        ids = self.tokenizer.encode(parts[0])
        for part in self.tokenizer.encode_batch(parts[1:], further=True):
            ids += [self._mask, *part]
        row = self.tokenizer.frame.around(ids).ids
        self.fit(row, number)
        return row, [place for place, token in enumerate(row) if token == self._mask]

    def _words(self, text: str) -> tuple[list[int], list[tuple[int, int, int]]]:
        """The ids of a text, and of each word its begin, end, and the place of its first token."""
        spans = [match.span() for match in _WORD.finditer(text)]
        ids: list[int] = []
        places = []
        for (begin, end), tokens in zip(spans, self.tokenizer.encode_batch([text[a:b] for a, b in spans]), strict=True):
            if tokens:
                places.append((begin, end, len(ids)))
                ids += tokens
        row = self.tokenizer.frame.around([-1, *ids]).ids  # where the text begins in its frame
        start = row.index(-1)
        del row[start]
        return row, [(begin, end, place + start) for begin, end, place in places]

    def _guesses(self, chances: Sequence[float], tokens: Sequence[int]) -> tuple[Guess, ...]:
        return tuple(
            Guess(self.tokenizer.decode([token]).strip() or str(self.tokenizer.token_of(token)), token, chance)
            for token, chance in zip(tokens, chances, strict=True)
        )

    # -- on the worker's thread -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def _compute(self, group: Hashable, values: Sequence[Any]) -> Sequence[Any]:
        assert isinstance(group, tuple)
        rows = [value[0] for value in values] if group[0] == "fill" else values
        if group[0] == "embed":
            return self._vectors(rows)
        hidden, segments = self._hidden(rows)
        if group[0] == "fill":
            return self._filled(hidden, [places for _, places in values], group[1])
        scores = self.model.output(group[0], hidden, segments=segments).float()
        if group[0] == "tag":
            sure, best = scores.softmax(-1).max(-1)
            return list(zip(best.tolist(), sure.tolist(), strict=True))
        return list((scores.sigmoid() if self._settings.several else scores.softmax(-1)).cpu().numpy())

    def _hidden(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Hidden states (N, T, D) and segments (N, T) of texts, one a row."""
        ids, segments = (t.to(self.device) for t in padded(rows))
        if self._native is None:
            return self.model(ids, segments=segments), segments
        return nn.utils.rnn.pad_sequence(self._native(rows), batch_first=True).to(self.dtype), segments

    def _vectors(self, rows: Sequence[Sequence[int]]) -> Sequence[Any]:
        if self._native is None:
            return list(pooled(*self._hidden(rows), self._settings.pooling).cpu().numpy())
        # one by one: the order in which a padded column is added up depends on its length
        ones = (torch.ones(1, len(row), dtype=torch.int64) for row in rows)
        states = zip(self._native(rows), ones, strict=True)
        return [pooled(hidden[None], one, self._settings.pooling)[0].numpy() for hidden, one in states]

    def _filled(self, hidden: Tensor, places: Sequence[Sequence[int]], k: int) -> Sequence[Any]:
        rows = [row for row, each in enumerate(places) for _ in each]
        columns = [place for each in places for place in each]
        chances = self.model.logits(hidden[rows, columns]).float().softmax(-1)
        words = chances[:, : self.tokenizer.vocabulary].clone()
        words[:, sorted(token for token in self.tokenizer.control if token < words.shape[1])] = 0.0
        sure, best = words.topk(min(k, words.shape[1]))
        found = iter(zip(sure.tolist(), best.tolist(), strict=True))
        return [[next(found) for _ in each] for each in places]
