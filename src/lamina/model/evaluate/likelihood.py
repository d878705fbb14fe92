"""Log-likelihoods of continuations, by a model of any architecture: what choices, minimal pairs and harnesses ask for.

A causal model reads the context and its continuation as one text. An encoder-decoder reads the context as its source.
A masked model gives a pseudo-log-likelihood: each token of the continuation is hidden in turn, and all others are seen
(Salazar et al. 2020, arXiv 1910.14659); it is no probability, and compares only with its own kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lamina.kit.errors import ConfigError, InputError, TooLargeError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.evaluate.masked import Hidden, mask_id, nats_of_hidden
from lamina.model.evaluate.scoring import Passage, alike, batches, by_row, device_of, judge
from lamina.model.generate import padded
from lamina.model.transformer import Transformer

Kind = Literal["causal", "encoder-decoder", "masked"]
Begin = Literal["document", "nothing"]
_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """``value``: Σ ln p (nats, at most 0) over ``tokens``; ``greedy``: each is the likeliest in its place."""

    value: float
    tokens: int
    greedy: bool


class Likelihoods:
    """A model and its tokenizer, asked how likely continuations are.

    ``begin``: "document" puts in front what the model's texts begin with (else the token that ends documents);
    "nothing" puts nothing there, and a text then needs a context. ``cut``: a context that is too long loses its
    beginning; else it is refused. Only a causal model's context is seen up to its last token; spaces at its end belong
    to the continuation, since tokens begin with a space.
    """

    def __init__(
        self, model: Transformer, tokenizer: ModelTokenizer, *, begin: Begin = "document", cut: bool = False
    ) -> None:
        if model.head is None:
            raise ConfigError(
                "this model has no head over the vocabulary: it gives no likelihoods", where="Likelihoods"
            )
        self.model, self.tokenizer, self._cut = model, tokenizer, cut
        self.kind = kind_of(model)
        self._opening = opening(tokenizer) if self.kind == "causal" and begin == "document" else []
        self._mask = mask_id(tokenizer) if self.kind == "masked" else None

    @property
    def begin(self) -> str:
        """What texts begin after, in words, for ``score.Asked``."""
        if self.kind == "causal":
            return " ".join(self._names(self._opening)) or "nothing"
        framed = self.tokenizer.frame.around((-1,)).ids
        around = " ".join("…" if i == -1 else name for i, name in zip(framed, self._names(framed), strict=True))
        return f"start token, source as {around}" if self.kind == "encoder-decoder" else around

    @property
    def measure(self) -> str:
        """What is summed, in words."""
        return "Σ ln p, each token hidden in turn" if self.kind == "masked" else "Σ ln p"

    def texts(self, texts: Sequence[str]) -> list[LogLikelihood]:
        """Of whole texts, each after nothing but the beginning (an encoder-decoder: an empty source)."""
        return self.continuations([("", text) for text in texts])

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> list[LogLikelihood]:
        """Of each (context, continuation), in order, computed in batches of like length.

        Raises ``InputError`` naming the pair whose continuation has no tokens, ``TooLargeError`` the one that does not
        fit into the model's context.
        """
        if not pairs:
            return []
        if self.kind == "encoder-decoder":
            return self._answers(pairs)
        split = self._split(pairs)
        return self._masked(split) if self.kind == "masked" else self._causal(split)

    def prompt(self, context: str) -> list[int]:
        """A causal model's ids of ``context``, after what texts begin with."""
        return [*self._opening, *self.tokenizer.encode(context)]

    def sources(self, contexts: Sequence[str]) -> list[list[int]]:
        """An encoder-decoder's ids of ``contexts`` in their frame."""
        return [self._source(n, context) for n, context in enumerate(contexts)]

    def _causal(self, split: Sequence[tuple[list[int], list[int]]]) -> list[LogLikelihood]:
        passages, longest = [], self.model.spec.max_positions + 1  # the last token is a target only
        for owner, (context, said) in enumerate(split):
            given = [*self._opening, *context]
            if not given:
                raise InputError("without a beginning a text needs a context", where=f"item {owner}")
            room = longest - len(said)
            if len(given) > room:
                self._too_long(owner, len(given) + len(said) - 1, cut=room > 0)
                given = given[-room:]
            passages.append(Passage([*given, *said], len(given), owner))
        found: dict[int, LogLikelihood] = {}
        for batch in batches(passages, _BATCH_TOKENS):
            for passage, (nats, best) in zip(batch, judge(self.model, batch), strict=True):
                found[passage.owner] = LogLikelihood(-nats, len(passage.ids) - passage.start, best)
        return [found[n] for n in range(len(split))]

    def _masked(self, split: Sequence[tuple[list[int], list[int]]]) -> list[LogLikelihood]:
        assert self._mask is not None
        work: list[Hidden] = []
        longest = self.model.spec.max_positions
        for owner, (context, said) in enumerate(split):
            room = longest - self.tokenizer.frame.size - len(said)
            if len(context) > room:
                self._too_long(owner, longest - room + len(context), cut=room >= 0)
                context = context[len(context) - room :]
            framed = self.tokenizer.frame.around([-1, *context, *said]).ids
            start = framed.index(-1)
            del framed[start]
            first = start + len(context)
            work += [Hidden(framed, (place,), owner) for place in range(first, first + len(said))]
        sums, greedy = [0.0] * len(split), [True] * len(split)
        for one, [(nats, best)] in zip(work, nats_of_hidden(self.model, work, self._mask), strict=True):
            sums[one.owner] -= nats
            greedy[one.owner] &= best
        return [LogLikelihood(s, len(said), g) for s, g, (_, said) in zip(sums, greedy, split, strict=True)]

    @torch.inference_mode()
    def _answers(self, pairs: Sequence[tuple[str, str]]) -> list[LogLikelihood]:
        start, longest = self.model.spec.start_token, self.model.spec.max_positions
        if start is None:
            raise ConfigError("the model has no token that a text begins with", where="Likelihoods")
        sources = self.sources([context.rstrip() for context, _ in pairs])  # the space between belongs to neither
        said = self.tokenizer.encode_batch([text.strip() for _, text in pairs])
        for owner, ids in enumerate(said):
            _some(ids, owner)
            if len(ids) > longest:
                self._too_long(owner, len(ids), cut=False)
        found: dict[int, LogLikelihood] = {}
        device = device_of(self.model)
        for batch in alike([len(s) + len(t) for s, t in zip(sources, said, strict=True)], _BATCH_TOKENS):
            source, segments = padded([sources[n] for n in batch])
            inputs, _ = padded([[start, *said[n][:-1]] for n in batch])
            targets = torch.full_like(inputs, -1)
            for row, n in enumerate(batch):
                targets[row, : len(said[n])] = torch.tensor(said[n])
            hidden = self.model(
                inputs.to(device), sources=source.to(device), source_segments=segments.to(device)
            )  # the decoder is causal: padding on the right is never looked at
            for n, (nats, best) in zip(batch, by_row(self.model, hidden, targets), strict=True):
                found[n] = LogLikelihood(-nats, len(said[n]), best)
        return [found[n] for n in range(len(pairs))]

    def _source(self, owner: int, context: str) -> list[int]:
        ids, room = self.tokenizer.encode(context), self.model.spec.max_positions - self.tokenizer.frame.size
        if len(ids) > room:
            self._too_long(owner, len(ids) + self.tokenizer.frame.size, cut=room > 0)
            ids = ids[-room:]
        return self.tokenizer.frame.around(ids).ids

    def _split(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """Token ids of contexts and continuations: of both as one text, cut where the context's own tokens end."""
        bare = [context.rstrip() for context, _ in pairs]
        rest = [whole[len(b) :] + said for b, (whole, said) in zip(bare, pairs, strict=True)]
        whole = self.tokenizer.encode_batch([b + r for b, r in zip(bare, rest, strict=True)])
        given = self.tokenizer.encode_batch(bare)
        apart = self.tokenizer.encode_batch(rest, further=True)  # where a token would span the border
        found = []
        for owner, (both, context, alone) in enumerate(zip(whole, given, apart, strict=True)):
            said = both[len(context) :] if both[: len(context)] == context else alone
            found.append((context, _some(said, owner)))
        return found

    def _too_long(self, owner: int, tokens: int, *, cut: bool) -> None:
        if not (cut and self._cut):
            raise TooLargeError(
                f"{tokens} tokens do not fit into the model's context of {self.model.spec.max_positions}",
                where=f"item {owner}",
                hint="cut=True drops the beginning of the context" if cut else "shorten the text",
            )

    def _names(self, ids: Sequence[int]) -> list[str]:
        return [self.tokenizer.token_of(i) or str(i) for i in ids]


def kind_of(model: Transformer) -> Kind:
    """How the model gives likelihoods: by the next token, after a source, or by hidden tokens."""
    if model.encoder is not None and model.decoder is not None:
        return "encoder-decoder"
    return "causal" if model.spec.stack.causal else "masked"


def opening(tokenizer: ModelTokenizer) -> list[int]:
    """What stands in front of a causal model's text: its tokenizer's frame says, else the token that ends documents."""
    framed = tokenizer.frame.around((-1,)).ids
    before = framed[: framed.index(-1)]
    if not before and not tokenizer.end_ids:
        raise ConfigError("the tokenizer has no token that a text could begin after", where=tokenizer.where)
    return before or [tokenizer.end_ids[0]]


def _some(ids: list[int], owner: int) -> list[int]:
    if not ids:
        raise InputError("a continuation of no tokens has no likelihood", where=f"item {owner}")
    return ids
