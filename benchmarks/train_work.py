"""The work of the training benchmarks: shapes, data and the turns in which sides are timed. Needs numpy alone."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sides import tell  # beside this file

Ids = NDArray[np.int64]
IGNORED = -100
SPECIAL = 5  # ids below: padding, start, end, separator, mask
PADDING, START, END, SEPARATOR, MASK = range(SPECIAL)
SHARE = 0.15  # of a masked text
POSITIONS, THETA = 8192, 1e5  # of SmolLM2
_CYCLE = 8  # batches that a side goes through again and again


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model, and how much of what a step is."""

    vocabulary: int = 8192
    width: int = 384
    layers: int = 6
    heads: int = 6
    inner: int = 1536
    rows: int = 32  # of a step: rows for gpt and lora, texts for bert, pairs for seq2seq
    length: int = 256  # of a row; the longest text

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values: SmolLM2's nine heads share three."""
        return 3 if self.heads == 9 else self.heads


#: By the name of the row. "lora" is SmolLM2-135M as it comes.
SHAPES = {
    "gpt": Shape(),
    "bert": Shape(rows=64),
    "seq2seq": Shape(width=512, heads=8, inner=2048, rows=64, length=96),
    "lora": Shape(vocabulary=49152, width=576, layers=30, heads=9, inner=1536, rows=4, length=256),
}


def quick(shape: Shape) -> Shape:
    """Less of everything, to see that a benchmark runs."""
    return Shape(vocabulary=shape.vocabulary, width=64, layers=2, heads=2, inner=256, rows=8, length=64)


def rows(shape: Shape) -> list[Ids]:
    """Batches (rows, length + 1) of ids: inputs and, one on, targets."""
    random = np.random.default_rng(0)
    return [random.integers(SPECIAL, shape.vocabulary, (shape.rows, shape.length + 1)) for _ in range(_CYCLE)]


def texts(shape: Shape) -> list[list[Ids]]:
    """Batches of ``rows`` texts whose lengths are spread as those of paragraphs are, up to ``length``."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(_CYCLE):
        sizes = np.clip(np.exp(random.normal(np.log(shape.length / 3), 0.6, shape.rows)), 8, shape.length).astype(int)
        found.append([random.integers(SPECIAL, shape.vocabulary, size) for size in sizes])
    return found


def pairs(shape: Shape) -> list[list[tuple[Ids, Ids]]]:
    """Batches of ``rows`` pairs of sentences; the second is about as long as the first."""
    random = np.random.default_rng(2)
    found = []
    for _ in range(_CYCLE):
        sizes = np.clip(np.exp(random.normal(np.log(shape.length / 4), 0.5, (shape.rows, 2))), 4, shape.length - 2)
        sizes[:, 1] = np.clip(sizes[:, 0] * random.uniform(0.8, 1.2, shape.rows), 4, shape.length - 2)
        found.append([tuple(random.integers(SPECIAL, shape.vocabulary, int(s)) for s in both) for both in sizes])  # type: ignore[misc]
    return found


def tokens_of(work: str, shape: Shape) -> float:
    """Real tokens (no padding) that a step takes in, on average; of pairs, those of both sides."""
    if work in ("gpt", "lora"):
        return shape.rows * shape.length
    if work == "bert":
        return float(np.mean([sum(map(len, batch)) for batch in texts(shape)]))
    return float(np.mean([sum(len(a) + len(b) for a, b in batch) for batch in pairs(shape)]))


class Turns:
    """A side's end of a benchmark: it is told on standard input how many steps to do, and tells how long they took.

    ``step(loss)`` is called after each step. At the end of the input the process ends.
    """

    def __init__(self, settle: Callable[[], None], peak: Callable[[], float] | None = None) -> None:
        self._settle, self._peak = settle, peak or _resident
        self._left = self._wanted = 0
        self._began = 0.0
        self._losses: list[float] = []

    def wait(self) -> None:
        """Before the first step."""
        line = sys.stdin.readline()
        if not line.strip():
            raise SystemExit(0)
        self._left = self._wanted = int(line)
        self._losses = []
        self._settle()
        self._began = time.perf_counter()

    def step(self, loss: float) -> None:
        """A step is done."""
        self._left -= 1
        self._losses.append(loss)
        if self._left:
            return
        self._settle()
        taken = time.perf_counter() - self._began
        told: dict[str, Any] = {"seconds": taken, "steps": self._wanted, "loss": self._losses[0], "mb": self._peak()}
        tell(told)
        self.wait()


def _resident() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
