"""How fast this machine runs a loaded model: its memory, a token for several sequences at once, prompts in chunks.

A roofline (Williams et al. 2009, doi 10.1145/1498765.1498785) with one roof: a decoded token reads every weight once,
so that the bandwidth of memory bounds it. The best of some calls counts: what else runs on the machine only slows them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from lamina.deployment.engine.place import Place
from lamina.deployment.engine.runner import Runner
from lamina.kit.errors import CorruptError
from lamina.model.device import read_rate

ROWS = (1, 2, 4, 8, 16)
CHUNKS = (16, 64, 256)
CONTEXT = 128  # tokens before the one that is timed
_CALLS, _LONG_S = 3, 0.25  # calls that count; a longer one counts alone
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """``weights``: bytes that a token reads; ``store``: bytes of keys and values of a token; bytes a second that memory
    gives (threads, rate); seconds of a step (threads, rows, seconds) and of a part of a prompt (threads, tokens,
    seconds); how it computes."""

    weights: int
    store: int
    memory: tuple[tuple[int, float], ...]
    steps: tuple[tuple[int, int, float], ...]
    prompts: tuple[tuple[int, int, float], ...]
    kernels: str

    def step(self, threads: int, rows: int) -> float:
        """Seconds of a step of ``rows`` sequences; what was not measured lies on a line between what was."""
        return _between([(r, s) for t, r, s in self.steps if t == threads], rows)

    def prompt(self, threads: int, tokens: int) -> float:
        """Seconds of a part of a prompt."""
        return _between([(n, s) for t, n, s in self.prompts if t == threads], tokens)

    def bandwidth(self, threads: int) -> float:
        """Bytes a second."""
        return dict(self.memory)[threads]

    def threads(self) -> list[int]:
        """Numbers of threads that were measured, the least first."""
        return sorted({t for t, _, _ in self.steps} & {t for t, _, _ in self.prompts} & set(dict(self.memory)))

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def restored(cls, told: dict[str, Any]) -> Rates:
        """From ``told``. Raises ``CorruptError``."""
        try:
            lists = {name: tuple(tuple(one) for one in told[name]) for name in ("memory", "steps", "prompts")}
            return cls(weights=told["weights"], store=told["store"], kernels=told["kernels"], **lists)
        except (KeyError, TypeError) as error:
            raise CorruptError(f"measured rates without {error}", where="machines") from error


def measure(runner: Runner, *, context: int, most_threads: int, budget_s: float = 8.0) -> Rates:
    """Time ``runner``, whose blocks are all free, with up to ``most_threads``; of a slow machine fewer sizes in time.

    The largest number of threads is timed at all sizes, the others where they are chosen by: one row, one chunk.
    """
    clock = _Clock(budget_s)
    counts = [most_threads, *(2**i for i in reversed(range(most_threads.bit_length())) if 2**i < most_threads)]
    memory: list[tuple[int, float]] = []
    steps: list[tuple[int, int, float]] = []
    prompts: list[tuple[int, int, float]] = []
    before = min(CONTEXT, context // 2)
    place = Place(range(-(-context // runner.block_tokens)), 0)
    later = Place(place.blocks, before)
    vocabulary = runner.model.spec.stack.embeddings.vocabulary
    some = [token % vocabulary for token in range(1, 1 + max(CHUNKS))]
    first = [n for n in CHUNKS if n <= context] or [context]
    middle = first[min(1, len(first) - 1)]

    def prompt(threads: int, tokens: int) -> None:
        seconds = clock.best(partial(runner.prefill, some[:tokens], place, scores=True))
        prompts.append((threads, tokens, seconds))

    def step(threads: int, rows: int) -> None:
        steps.append((threads, rows, clock.best(partial(runner.decode, [1] * rows, [later] * rows))))

    for threads in counts:  # what threads are chosen by comes first
        if threads == most_threads or not clock.over():
            runner.use_threads(threads)
            prompt(threads, middle)
            step(threads, ROWS[0])
            memory.append((threads, _memory(runner, clock)))
    runner.use_threads(most_threads)
    for rows in ROWS[1:]:
        if not clock.over():
            step(most_threads, rows)
    for tokens in first:
        if tokens != middle and not clock.over():
            prompt(most_threads, tokens)
    runner.give_back(range(-(-max(CHUNKS) // runner.block_tokens)))
    return Rates(
        weights=weights_of(runner),
        store=runner.token_bytes,
        memory=tuple(memory),
        steps=tuple(steps),
        prompts=tuple(sorted(prompts)),
        kernels=runner.kernels,
    )


def weights_of(runner: Runner) -> int:
    """Bytes of weights that a token reads: all layers and the head."""
    if runner.native is not None:
        return runner.native.bytes_per_step
    head: Any = runner.model.head
    parts = [*runner.model.stack.blocks.state_dict().values(), *head.state_dict().values()]
    return sum(tensor.nbytes for tensor in parts)


def _memory(runner: Runner, clock: _Clock) -> float:
    if runner.native is not None:
        return runner.native.bytes_per_step / clock.best(runner.native.read)
    return read_rate(_CPU)


class _Clock:
    """Calls timed until the budget is out."""

    def __init__(self, budget_s: float) -> None:
        self._end = time.monotonic() + budget_s

    def over(self) -> bool:
        return time.monotonic() >= self._end

    def best(self, call: Callable[[], object]) -> float:
        """Seconds of the fastest of a few calls after one that warms up; a long one is its own."""
        taken = [_timed(call)]
        for _ in range(_CALLS):
            if taken[0] > _LONG_S and (len(taken) > 1 or self.over()):
                break
            taken.append(_timed(call))
        return min(taken)


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _between(points: list[tuple[int, float]], at: int) -> float:
    """On the line through the two nearest of ``points`` (ascending); beyond the last in its proportion."""
    points = sorted(points)
    if not points:
        raise KeyError(at)
    if at >= points[-1][0]:
        return points[-1][1] * at / points[-1][0]
    if at <= points[0][0]:
        return points[0][1]
    for (low, a), (high, b) in pairwise(points):
        if at <= high:
            return a + (b - a) * (at - low) / (high - low)
    return points[-1][1]
