"""Scores changed before a token is drawn: bias, penalties for what was said, ends that come too early, a constraint.

The order is that of ``transformers`` and vLLM: bias, repetition (Keskar et al. 2019, arXiv 1909.05858: prompt and
answer), frequency and presence (OpenAI's: the answer alone), then what is not allowed at all. Temperature and the cuts
come after it, in ``sampling``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lamina.contracts.inference import SamplingParams
from lamina.kit.errors import InputError

MOST_BIASED = 1024  # tokens that a request may name


class Guide(Protocol):
    """What an answer may go on with, at the place where it stands."""

    def allowed(self, size: int) -> Tensor:
        """Which of the tokens 0 … ``size`` - 1 may come next: (size,) bool. Raises ``LaminaError`` where none can be
        told."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Settled: ``repetition`` 1, ``presence`` and ``frequency`` 0 change nothing; ``least`` tokens before an end."""

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()
    least: int = 0

    @classmethod
    def settle(cls, asked: SamplingParams, generation: Mapping[str, Any], vocabulary: int) -> Rules:
        """What the request says, else the model's ``generation_config``. Raises ``InputError``."""
        repetition = asked.repetition_penalty
        if repetition is None:
            repetition = generation.get("repetition_penalty")
        rules = cls(
            repetition=1.0 if repetition is None else float(repetition),
            presence=asked.presence_penalty or 0.0,
            frequency=asked.frequency_penalty or 0.0,
            bias=tuple(asked.logit_bias),
            least=asked.min_tokens or 0,
        )
        rules._check(vocabulary)
        return rules

    @property
    def idle(self) -> bool:
        """Whether they change nothing."""
        return self == _IDLE

    def _check(self, vocabulary: int) -> None:
        if not 0.0 < self.repetition <= 100.0:
            raise InputError(f"must be above 0 and at most 100, not {self.repetition}", where="repetition_penalty")
        for name, value in (("presence_penalty", self.presence), ("frequency_penalty", self.frequency)):
            if not -2.0 <= value <= 2.0:
                raise InputError(f"must be between -2 and 2, not {value}", where=name)
        if self.least < 0:
            raise InputError(f"must be at least 0, not {self.least}", where="min_tokens")
        if len(self.bias) > MOST_BIASED:
            raise InputError(f"names {len(self.bias)} tokens; at most {MOST_BIASED}", where="logit_bias")
        for token, value in self.bias:
            if not 0 <= token < vocabulary:
                raise InputError(f"there is no token {token}; ids go from 0 to {vocabulary - 1}", where="logit_bias")
            if not -100.0 <= value <= 100.0:
                raise InputError(f"must be between -100 and 100, not {value} (token {token})", where="logit_bias")


_IDLE = Rules()


class Adjuster:
    """``rules`` for one sequence, whose list ``tokens`` (prompt and answer) grows; ``ends`` end an answer.

    What was said is counted as it comes, so that a step costs the same however long the answer is.
    """

    def __init__(
        self,
        rules: Rules,
        tokens: Sequence[int],
        prompt_tokens: int,
        *,
        ends: Collection[int],
        guide: Guide | None = None,
    ) -> None:
        self._rules = rules
        self._tokens = tokens
        self._prompt = prompt_tokens
        self._ends = sorted(ends)
        self._guide = guide
        self._counted = 0
        self._answered: set[int] = set()
        self._said: Tensor | None = None  # (V,) what frequency and presence take off
        self._seen: Tensor | None = None  # (V,) bool: in the prompt or the answer
        self._bias: tuple[Tensor, Tensor] | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """A changed copy of ``scores`` (V,)."""
        rules, scores = self._rules, scores.clone()
        self._count(scores)
        if self._bias is not None:
            scores.index_add_(0, *self._bias)
        if self._seen is not None:
            weaker = torch.where(scores < 0, scores * rules.repetition, scores / rules.repetition)
            scores = torch.where(self._seen, weaker, scores)
        if self._said is not None:
            scores -= self._said
        if self._guide is not None:  # a constraint knows when the answer may end
            scores.masked_fill_(~self._guide.allowed(scores.shape[0]).to(scores.device), -torch.inf)
        elif len(self._tokens) - self._prompt < rules.least and self._ends:
            scores[self._ends] = -torch.inf
        return scores

    def _count(self, scores: Tensor) -> None:
        """Take the tokens in that came since the last time."""
        rules = self._rules
        if rules.bias and self._bias is None:
            ids = torch.tensor([token for token, _ in rules.bias], device=scores.device)
            self._bias = ids, torch.tensor([value for _, value in rules.bias], device=scores.device)
        fresh = list(self._tokens[self._counted :])
        if rules.repetition != 1.0 and fresh:
            if self._seen is None:
                self._seen = torch.zeros(scores.shape[0], dtype=torch.bool, device=scores.device)
            self._seen[fresh] = True
        if rules.presence or rules.frequency:
            if self._said is None:
                self._said = torch.zeros_like(scores)
            for token in self._tokens[max(self._prompt, self._counted) :]:
                self._said[token] += rules.frequency + (0.0 if token in self._answered else rules.presence)
                self._answered.add(token)
        self._counted = len(self._tokens)
