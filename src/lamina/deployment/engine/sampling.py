"""Drawing the next token: temperature, top-k, top-p, min-p, with a generator that counts instead of remembering.

The random number of a token is a function of (seed, place in the sequence) alone, so an answer does not depend on what
else is in the batch, nor on being interrupted. Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3".
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.contracts.inference import SamplingParams
from lamina.kit.errors import InputError, LaminaError

MOST_LOGPROBS = 20
_LIKELY = 1e-3  # share of a token that top-p looks at first
_SEEDS = 2**63


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token, its log-probability and the entropy of the model's own distribution (nats), and the likeliest others."""

    token: int
    logprob: float
    entropy: float
    top: tuple[tuple[int, float], ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Settled sampling parameters of one request. ``temperature`` 0 = greedy; ``logprobs`` None = not asked for.

    The cuts follow one another as in ``transformers``: top-k, top-p of what it leaves, then min-p.
    """

    temperature: float
    top_p: float
    top_k: int | None
    seed: int
    logprobs: int | None
    min_p: float = 0.0

    @classmethod
    def settle(cls, asked: SamplingParams, generation: Mapping[str, Any]) -> Sampler:
        """What the request says, else the model's ``generation_config``, else the field's neutral values."""
        temperature = asked.temperature
        if temperature is None:
            temperature = 0.0 if generation.get("do_sample") is False else generation.get("temperature")
        top_p = asked.top_p if asked.top_p is not None else generation.get("top_p")
        top_k = asked.top_k if asked.top_k is not None else generation.get("top_k") or None
        min_p = asked.min_p if asked.min_p is not None else generation.get("min_p")
        seed = secrets.randbelow(_SEEDS) if asked.seed is None else asked.seed % _SEEDS
        settled = cls(
            temperature=1.0 if temperature is None else float(temperature),
            top_p=1.0 if top_p is None else float(top_p),
            top_k=top_k,
            seed=seed,
            logprobs=asked.logprobs,
            min_p=0.0 if min_p is None else float(min_p),
        )
        settled._check()
        return settled

    def _check(self) -> None:
        rules = (
            ("temperature", 0.0 <= self.temperature <= 100.0, "between 0 and 100"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("top_k", self.top_k is None or self.top_k >= 1, "at least 1"),
            ("min_p", 0.0 <= self.min_p <= 1.0, "between 0 and 1"),
            ("logprobs", self.logprobs is None or 0 <= self.logprobs <= MOST_LOGPROBS, f"from 0 to {MOST_LOGPROBS}"),
        )
        for name, good, must in rules:
            if not good:
                raise InputError(f"must be {must}, not {getattr(self, name)}", where=name)

    def draw(self, logits: Tensor, place: int, adjust: Callable[[Tensor], Tensor] | None = None) -> Drawn:
        """The token at ``place`` in the sequence, from float32 ``logits`` (V,). NaN in them is an error.

        ``adjust`` changes the scores that are drawn from; log-probabilities and entropy stay the model's own.
        """
        values = logits.numpy()  # numpy's loops are some times as fast as torch's for one row
        with np.errstate(invalid="ignore"):  # what is infinite becomes no number, and is told below
            shifted = values - values.max()
        shares = np.exp(shifted)
        mass = float(shares.sum())
        entropy = math.log(mass) - float((shares * np.maximum(shifted, -1e30)).sum()) / mass if mass > 0 else math.nan
        if entropy != entropy:
            raise LaminaError("the model's scores are not numbers", where="sampling")
        scores = logits if adjust is None else adjust(logits)
        if self.temperature == 0.0:
            token = int(scores.numpy().argmax())
        else:
            token = self._sample(scores, uniform(self.seed, place))
        top = None
        if self.logprobs is not None:
            tokens = logits.topk(self.logprobs).indices
            told = (shifted[tokens.numpy()] - math.log(mass)).tolist()
            top = tuple(zip(tokens.tolist(), told, strict=True))
        return Drawn(token, float(shifted[token]) - math.log(mass), entropy, top)

    def _sample(self, logits: Tensor, number: float) -> int:
        shares = torch.softmax(logits / self.temperature, dim=-1)
        if self.top_k is None and self.top_p >= 1.0:
            if not self.min_p:
                return _at(shares.cumsum(0, dtype=torch.float64), number)
            tokens = (shares >= self.min_p * shares.max()).nonzero().squeeze(1)
            return int(tokens[_at(shares[tokens].cumsum(0, dtype=torch.float64), number)])
        if self.top_k is not None:
            values, tokens = shares.topk(min(self.top_k, shares.shape[0]))
        else:
            values, tokens = self._nucleus(shares)
        mass = values.double().cumsum(0)
        if self.top_p < 1.0:
            # A token stays while the likelier ones together have less than top_p (Holtzman et al. 2020).
            whole = float(mass[-1]) if self.top_k is not None else 1.0
            keep = 1 + int((mass[:-1] < self.top_p * whole).sum())
            mass = mass[:keep]
        if self.min_p:  # relative to the likeliest (Nguyen et al. 2024, arXiv 2407.01082)
            mass = mass[: int((values[: mass.shape[0]] >= self.min_p * values[0]).sum())]
        return int(tokens[_at(mass, number)])

    def _nucleus(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        """(shares, ids), best first, of a set that holds the likeliest tokens whose sum reaches top_p.

        Sorting the whole vocabulary, or ``topk`` of hundreds, costs milliseconds; a filter leaves few to be sorted. The
        tokens below the last bound have together less than 1 - top_p, so that set is always enough.
        """
        for bound in (_LIKELY, (1.0 - self.top_p) / shares.shape[0]):
            tokens = (shares >= bound).nonzero().squeeze(1)
            values = shares[tokens]
            if float(values.sum(dtype=torch.float64)) >= self.top_p:
                break
        values, order = values.sort(descending=True, stable=True)
        return values, tokens[order]


def uniform(seed: int, place: int) -> float:
    """The random number in [0, 1) that belongs to ``place`` of the stream ``seed``."""
    bits = int(np.random.Philox(key=seed, counter=place).random_raw())
    return (bits >> 11) * 2.0**-53


def _at(mass: Tensor, number: float) -> int:
    """The first index whose cumulative ``mass`` exceeds ``number`` of the whole."""
    place = int(torch.searchsorted(mass, mass[-1] * number, right=True))
    return min(place, mass.shape[0] - 1)
