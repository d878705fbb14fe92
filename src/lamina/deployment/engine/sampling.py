"""Drawing the next token: temperature, top-k, top-p, with a generator that counts instead of remembering.

The random number of a token is a function of (seed, place in the sequence) alone, so an answer does not depend on what
else is in the batch, nor on being interrupted. Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.contracts.inference import SamplingParams
from lamina.kit.errors import InputError, LaminaError

MOST_LOGPROBS = 20
_CANDIDATES = 256  # the likeliest tokens that top-p looks at before it sorts the whole vocabulary
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
    """Settled sampling parameters of one request. ``temperature`` 0 = greedy; ``logprobs`` None = not asked for."""

    temperature: float
    top_p: float
    top_k: int | None
    seed: int
    logprobs: int | None

    @classmethod
    def settle(cls, asked: SamplingParams, generation: Mapping[str, Any]) -> Sampler:
        """What the request says, else the model's ``generation_config``, else the field's neutral values."""
        temperature = asked.temperature
        if temperature is None:
            temperature = 0.0 if generation.get("do_sample") is False else generation.get("temperature")
        top_p = asked.top_p if asked.top_p is not None else generation.get("top_p")
        top_k = asked.top_k if asked.top_k is not None else generation.get("top_k") or None
        seed = secrets.randbelow(_SEEDS) if asked.seed is None else asked.seed % _SEEDS
        settled = cls(
            temperature=1.0 if temperature is None else float(temperature),
            top_p=1.0 if top_p is None else float(top_p),
            top_k=top_k,
            seed=seed,
            logprobs=asked.logprobs,
        )
        settled._check()
        return settled

    def _check(self) -> None:
        rules = (
            ("temperature", 0.0 <= self.temperature <= 100.0, "between 0 and 100"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("top_k", self.top_k is None or self.top_k >= 1, "at least 1"),
            ("logprobs", self.logprobs is None or 0 <= self.logprobs <= MOST_LOGPROBS, f"from 0 to {MOST_LOGPROBS}"),
        )
        for name, good, must in rules:
            if not good:
                raise InputError(f"must be {must}, not {getattr(self, name)}", where=name)

    def draw(self, logits: Tensor, place: int) -> Drawn:
        """The token at ``place`` in the sequence, from float32 ``logits`` (V,). NaN in them is an error."""
        logprobs = torch.log_softmax(logits, dim=-1)
        entropy = -float(torch.dot(logprobs.exp(), torch.clamp(logprobs, min=-1e30)))
        if entropy != entropy:
            raise LaminaError("the model's scores are not numbers", where="sampling")
        token = int(logits.argmax()) if self.temperature == 0.0 else self._sample(logits, uniform(self.seed, place))
        top = None
        if self.logprobs is not None:
            values, tokens = logprobs.topk(self.logprobs)
            top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        return Drawn(token, float(logprobs[token]), entropy, top)

    def _sample(self, logits: Tensor, number: float) -> int:
        scaled = (logits - logits.max()).double() / self.temperature
        if self.top_k is None and self.top_p >= 1.0:
            mass = scaled.exp_().cumsum_(0)
            return _at(mass, number)
        values, tokens = self._candidates(scaled)
        mass = values.exp().cumsum(0)
        if self.top_p < 1.0:
            # A token stays while the likelier ones together have less than top_p (Holtzman et al. 2020).
            whole = mass[-1] if self.top_k is not None else scaled.exp().sum()
            keep = 1 + int((mass[:-1] < self.top_p * whole).sum())
            mass = mass[:keep]
        return int(tokens[_at(mass, number)])

    def _candidates(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest tokens, best first, that top-k and top-p can need: (log-weights, ids)."""
        size = scaled.shape[0]
        if self.top_k is not None:
            return scaled.topk(min(self.top_k, size))
        values, tokens = scaled.topk(min(_CANDIDATES, size))
        if len(values) < size and values.exp().sum() < self.top_p * scaled.exp().sum():
            values, tokens = scaled.sort(descending=True, stable=True)
        return values, tokens


def uniform(seed: int, place: int) -> float:
    """The random number in [0, 1) that belongs to ``place`` of the stream ``seed``."""
    bits = int(np.random.Philox(key=seed, counter=place).random_raw())
    return (bits >> 11) * 2.0**-53


def _at(mass: Tensor, number: float) -> int:
    """The first index whose cumulative ``mass`` exceeds ``number`` of the whole."""
    place = int(torch.searchsorted(mass, mass[-1] * number, right=True))
    return min(place, mass.shape[0] - 1)
