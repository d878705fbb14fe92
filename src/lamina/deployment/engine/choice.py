"""Which of two ways of computing is taken: the faster one, by trying, if both give the same scores, or vectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamina.deployment.engine.native import binding as native

_TRIALS = 3
_CLEAR = 2.0
_MOST_NATS = 1e-3  # as in the parity seal
_LEAST_COSINE, _LEAST_OF_A_TOKEN = 0.998, 0.97  # rounding to int8 leaves MiniLM 0.999 and 0.988 of random tokens
_log = logging.getLogger(__name__)


def faster(ours: Callable[[], Any], theirs: Callable[[], Any], what: str) -> bool:
    """Whether ``ours`` is at least as fast as ``theirs``, each called in turn; the best call counts.

    A start is not to wait for what is clear: after the first two calls of each, twice as fast is enough.
    """
    best = [float("inf"), float("inf")]
    for trial in range(1 + _TRIALS):
        if trial > 1 and _CLEAR * best[0] <= best[1]:
            break
        for way, compute in enumerate((ours, theirs)):
            start = time.perf_counter()
            compute()
            best[way] = min(best[way], time.perf_counter() - start)
    _log.info("%s takes %.1f ms, by torch %.1f ms", what, best[0] * 1e3, best[1] * 1e3)
    return best[0] <= best[1]


def describe(kernels: str) -> str:
    """What computes a step, in words: what of it may change the last bits of a score."""
    if kernels == "native":
        return f"native {native.LEVELS[native.best_level()]}"
    if kernels == "graphs":
        return f"torch {torch.__version__}, CUDA graphs, {torch.cuda.get_device_name()}"
    capability = torch.backends.cpu.get_cpu_capability()
    by = "numba and torch" if kernels == "compiled" else "torch"
    return f"{by} {torch.__version__}, {capability}, {torch.get_num_threads()} threads"


def agree(ours: Tensor | None, theirs: Tensor | None) -> bool:
    """Whether scores (V,) name the same likeliest token, with distributions within 1e-3 nats of each other."""
    if ours is None or theirs is None:
        return False
    ours, theirs = (torch.log_softmax(scores.double(), dim=-1) for scores in (ours, theirs))
    distance = float((theirs.exp() * (theirs - ours)).sum())
    return bool(distance <= _MOST_NATS and theirs[int(ours.argmax())] >= theirs.max() - _MOST_NATS)


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Whether hidden states (T, D) of a text are the same but for the rounding of weights to int8: their mean, and each
    token's."""
    ours, theirs = ours.double(), theirs.double()
    of_tokens = torch.cosine_similarity(ours, theirs, dim=-1)
    of_text = torch.cosine_similarity(ours.mean(0), theirs.mean(0), dim=-1)
    return bool((of_tokens >= _LEAST_OF_A_TOKEN).all() and of_text >= _LEAST_COSINE)
