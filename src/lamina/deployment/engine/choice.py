"""Which of two ways of computing is taken: the faster one, by trying, if both give the same scores, or vectors.

What a decoder's trial found may be kept as a ``Proof``: whoever has one takes the native way at once, if it gives the
very bits that it gave when it was compared with torch's.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.decoder import NativeDecoder
from lamina.deployment.engine.place import Place
from lamina.kit.errors import LaminaError

_TRIED = 32  # tokens of the prompt by which two ways are compared
_TRIALS = 3
_CLEAR, _VERY_CLEAR = 2.0, 5.0
_MOST_NATS = 1e-3  # as in the parity seal
_LEAST_COSINE, _LEAST_OF_A_TOKEN = 0.998, 0.97  # rounding to int8 leaves MiniLM 0.999 and 0.988 of random tokens
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Proof:
    """The native library gave torch's scores, and was faster, for prompts and answers. ``bits``: of its scores then."""

    bits: str


class DisprovedError(LaminaError):
    """The native library does not give the bits that a proof tells of, or is not there."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A prompt, and where it is computed: in slots that belong to nobody yet."""

    prompt: tuple[int, ...]
    place: Place

    @classmethod
    def of(cls, blocks: int, block_tokens: int, vocabulary: int, *, context: int) -> Trial:
        """As long as the blocks and the ``context`` allow, with room for a token after it."""
        room = min(blocks, -(-_TRIED // block_tokens))
        count = min(_TRIED, room * block_tokens - 1, context - 1)
        return cls(tuple(token % vocabulary for token in range(1, 1 + count)), Place(range(room), 0))

    @property
    def after(self) -> Place:
        """Where the token after the prompt is computed."""
        return Place(self.place.blocks, len(self.prompt))

    def bits(self, way: NativeDecoder) -> str:
        """Of the scores that ``way`` gives after the prompt, and after one token more."""
        prompt = way.prefill(self.prompt, self.place, scores=True)
        assert prompt is not None
        found = hashlib.sha256(prompt.numpy().tobytes())
        found.update(way([0], [self.after]).numpy().tobytes())
        return found.hexdigest()

    def confirm(self, way: NativeDecoder | None, proof: Proof) -> None:
        """Raise ``DisprovedError`` unless ``way`` is there and gives the bits of ``proof``."""
        if way is None or self.bits(way) != proof.bits:
            raise DisprovedError("the native kernels do not give the bits that they gave when they were tried")


def faster(ours: Callable[[], Any], theirs: Callable[[], Any], what: str) -> bool:
    """Whether ``ours`` is at least as fast as ``theirs``, each called in turn; the best call counts.

    A start is not to wait for what is clear: after two calls of each twice as fast is enough, after one, which may have
    been slowed by what is done once, five times.
    """
    best = [float("inf"), float("inf")]
    for trial in range(1 + _TRIALS):
        if trial and (_CLEAR if trial > 1 else _VERY_CLEAR) * best[0] <= best[1]:
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
