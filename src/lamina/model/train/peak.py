"""Which share of what the machine can multiply a run gets done.

The rate is measured, not read from a data sheet: the model's own products, each run alone in the run's precision. What
is left is attention, norms, losses, the optimizer, and waiting for data.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from lamina.kit.progress import Progress
from lamina.model.layers.heads import VocabularyHead
from lamina.model.train.plan import Plan
from lamina.model.transformer import Transformer

_ROWS = {"cpu": 512, "cuda": 8192}  # of a product, at most
_REPEATS = {"cpu": 1, "cuda": 20}  # one product alone on a GPU is mostly the wait for its beginning
_DRAWS = 3


class Peak:
    """Shows model FLOP per second over the rate of the model's products alone, as ``of peak``.

    ``rows``: tokens of a micro-batch. ``passes``: 3 where all weights learn (forward, and backward to activations and
    to weights), 2 where adapters do. Operations: two for each weight of a product and token that goes through it; the
    head sees the tokens that are learned; of an encoder-decoder half of the places go through either.
    """

    needs_model = True

    def __init__(self, *, rows: int, passes: int = 3) -> None:
        self._rows, self._passes = rows, passes
        self._rate = 0.0

    def begin(self, model: Transformer, step: int, plan: Plan, progress: Progress) -> None:
        """Measure the rate, once in a life."""
        if self._rate:
            return
        self._body, self._head = products(model)
        self._rate = matrix_rate(model, self._rows, plan.precision)

    def see(self, facts: Mapping[str, Any]) -> Mapping[str, str]:
        """The share of this step."""
        learned = facts["tokens_per_s"] * facts["step_s"]
        done = self._passes * (self._body * facts["places"] + self._head * learned)
        return {"of peak": f"{done / facts['step_s'] / self._rate:.0%}"}

    def close(self, *, well: bool) -> None:
        """Nothing is held open."""


def products(model: Transformer) -> tuple[float, int]:
    """FLOP of a token forward in products with weights: of the stacks (a place's mean over both), and of the head."""
    head = sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, VocabularyHead))
    both = sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear)) - head
    return both / (2 if model.encoder is not None and model.decoder is not None else 1), head


def matrix_rate(model: Transformer, rows: int, precision: Literal["float32", "bfloat16"]) -> float:
    """FLOP per second of the model's products forward, each alone, weighted by their FLOP."""
    shapes = Counter(tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Linear))
    device, dtype = model.stack.embeddings.token.weight.device, getattr(torch, precision)
    rows = min(rows, _ROWS.get(device.type, 512))
    flop = seconds = 0.0
    with torch.inference_mode():
        for (outputs, inputs), count in shapes.items():
            x = torch.ones(rows, inputs, dtype=dtype, device=device)
            weight = torch.ones(outputs, inputs, dtype=dtype, device=device)
            flop += 2.0 * rows * inputs * outputs * count
            seconds += count * min(_timed(x, weight) for _ in range(_DRAWS))
    return flop / seconds if seconds else 0.0


def _timed(x: torch.Tensor, weight: torch.Tensor) -> float:
    repeats = _REPEATS.get(x.device.type, 1)
    if x.is_cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        torch.nn.functional.linear(x, weight)
    if x.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats
