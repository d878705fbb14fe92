"""Drawing the next token: temperature, top-k, top-p, min-p, with a generator that counts instead of remembering.

The random number of a token is a function of (seed, place in the sequence) alone, so an answer does not depend on what
else is in the batch, nor on being interrupted. Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3".
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.native.scores import Facts, Summary, shares_of, summarize
from lamina.kit.errors import InputError, LaminaError

Array = NDArray[Any]
MOST_LOGPROBS = 20
_LIKELY = 1e-3  # share of a token that top-p looks at first
_COLDEST = 1e-30
_RUN = 256  # neighbouring tokens that are looked at as one
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
            temperature=1.0 if temperature is None else _warmed(float(temperature)),
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

    def draw(
        self, logits: Array, place: int, adjust: Callable[[Tensor], Tensor] | None = None, facts: Facts | None = None
    ) -> Drawn:
        """The token at ``place`` in the sequence, from float32 ``logits`` (V,). NaN in them is an error.

        ``adjust`` changes the scores that are drawn from; log-probabilities and entropy stay the model's own.
        ``facts``: what ``summarize`` tells of them.
        """
        summary = Summary.of(facts or summarize(logits[None])[0])
        scores, likeliest = logits, summary.likeliest
        if adjust is not None:
            scores = adjust(torch.from_numpy(logits)).numpy()
            likeliest = int(scores.argmax())
            if not scores[likeliest] > -np.inf:
                raise LaminaError("no token is possible here", where="sampling")
        token = likeliest if self.temperature == 0.0 else self._sample(scores, uniform(self.seed, place))
        top = None
        if self.logprobs is not None:
            values, tokens = (found.tolist() for found in torch.from_numpy(logits).topk(self.logprobs))
            top = tuple((token, summary.logprob(value)) for value, token in zip(values, tokens, strict=True))
        return Drawn(token, summary.logprob(float(logits[token])), summary.entropy, top)

    def _sample(self, scores: Array, number: float) -> int:
        shares = shares_of(scores, self.temperature)
        if self.top_k is None and self.top_p >= 1.0:
            if not self.min_p:
                return _among_all(shares, number)
            tokens = np.flatnonzero(shares >= self.min_p)
            return int(tokens[_at(shares[tokens].cumsum(dtype=np.float64), number)])
        tokens = _likeliest(shares, self.top_k) if self.top_k is not None else self._nucleus(shares)
        kept = shares[tokens]
        mass = kept.cumsum(dtype=np.float64)
        if self.top_p < 1.0:
            # A token stays while the likelier ones together have less than top_p (Holtzman et al. 2020).
            whole = mass[-1] if self.top_k is not None else shares.sum(dtype=np.float64)
            mass = mass[: 1 + int((mass[:-1] < self.top_p * whole).sum())]
        if self.min_p:  # relative to the likeliest (Nguyen et al. 2024, arXiv 2407.01082)
            mass = mass[: int((kept[: len(mass)] >= self.min_p).sum())]
        return int(tokens[_at(mass, number)])

    def _nucleus(self, shares: Array) -> Array:
        """Ids, best first, of a set that holds the likeliest tokens whose sum reaches top_p.

        Sorting the whole vocabulary costs milliseconds; a filter leaves few to be sorted. The tokens below the last
        bound have together less than 1 - top_p, so that set is always enough.
        """
        whole = float(shares.sum(dtype=np.float64))
        for bound in (_LIKELY, (1.0 - self.top_p) / len(shares)):
            tokens = np.flatnonzero(shares >= bound * whole)
            if float(shares[tokens].sum(dtype=np.float64)) >= self.top_p * whole:
                break
        return tokens[np.argsort(-shares[tokens], kind="stable")]


def _likeliest(shares: Array, count: int) -> Array:
    """Ids of the ``count`` likeliest tokens, best first; fewer where no more are possible.

    As many runs of tokens have a likeliest one each, the least of which bounds the whole from below: few are left.
    """
    most = np.sort(np.maximum.reduceat(shares, np.arange(0, len(shares), _RUN)))
    if count <= len(most):
        bound = most[-count]
    else:
        bound = np.partition(shares, -count)[-count] if count < len(shares) else 0.0
    tokens = np.flatnonzero(shares >= max(bound, np.finfo(np.float32).smallest_subnormal))
    return tokens[np.argsort(-shares[tokens], kind="stable")][:count]


def _warmed(temperature: float) -> float:
    """One by which scores can be divided in float32; 0 stays 0."""
    return max(temperature, _COLDEST) if temperature > 0.0 else temperature


class _Counting(threading.local):
    """A generator of each thread's own, set anew for each number: making one takes several times as long."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(key=0)
        self.state: Any = self.philox.state


_counting = _Counting()


def uniform(seed: int, place: int) -> float:
    """The random number in [0, 1) that belongs to ``place`` of the stream ``seed``."""
    state = _counting.state
    state["state"]["key"][:], state["state"]["counter"][:] = (seed, 0), (place, 0, 0, 0)
    _counting.philox.state = state
    return (int(_counting.philox.random_raw()) >> 11) * 2.0**-53


def _at(mass: Array, number: float) -> int:
    """The first index whose cumulative ``mass`` exceeds ``number`` of the whole."""
    return _first_above(mass, mass[-1] * number)


def _first_above(mass: Array, value: float) -> int:
    """The first index whose cumulative ``mass`` exceeds ``value``, or all but all of it: one that has a share."""
    return int(np.searchsorted(mass, min(value, np.nextafter(mass[-1], 0.0)), side="right"))


def _among_all(shares: Array, number: float) -> int:
    """``_at`` of the whole vocabulary: sums of runs first, then the tokens of one."""
    runs = np.add.reduceat(shares, np.arange(0, len(shares), _RUN), dtype=np.float64).cumsum()
    value = runs[-1] * number
    run = _first_above(runs, value)
    before = runs[run - 1] if run else 0.0
    within = shares[run * _RUN : (run + 1) * _RUN].cumsum(dtype=np.float64)
    return run * _RUN + _first_above(within, value - before)
