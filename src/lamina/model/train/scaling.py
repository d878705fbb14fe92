"""How large a model, on how many tokens: a scaling law, the machine's speed, and the corpus decide. Pure arithmetic.

The law has the parametric form of Hoffmann et al. 2022 (arXiv 2203.15556, 3.3), loss = E + A / N^alpha + B / D^beta, in
bits per byte, with N the parameters of the blocks (as arXiv 2001.08361 counts) and D the bytes learned from. Repeated
data count for less, as in Muennighoff et al. 2023 (arXiv 2305.16264, 3.1). The published coefficients are of models a
thousand times as large and say nonsense of small ones, so these were fitted to own runs (docs/log.md, 2026-11-26).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.kit.errors import ConfigError

_REPEATS = 15.387756  # R*_D of arXiv 2305.16264: after so many repeats there is nothing more to learn from them
_BYTES_A_WEIGHT = 16  # of training: weight, gradient and AdamW's two averages, in float32
_ROOM = 0.5  # share of the memory that these may take; the rest is for what blocks hold inside
_STEPS = 2000  # so many steps at least: with fewer, larger batches the same tokens taught less
_MOST_TOKENS = 65536  # of a step
_PEAK, _PEAK_WIDTH = 3e-3, 128  # of the learning rate, at this width; it falls with the root of the width


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """Bits per byte of text that was not learned from; N in millions of parameters, D in millions of bytes.

    ``spread``: relative half-width of the interval that is given with a prediction. The largest error was 5 % on the
    corpus of the fit and 11 % on another one.
    """

    floor: float = 0.855
    size: float = 0.2064
    size_power: float = 0.351
    data: float = 2.888
    data_power: float = 0.504
    spread: float = 0.12
    sizes: tuple[float, float] = (0.16, 4.8)  # that were measured
    amounts: tuple[float, float] = (6.7, 135.0)

    def bits_per_byte(self, parameters: float, size: float) -> float:
        """For blocks of ``parameters`` that learned from ``size`` bytes, all different."""
        return (
            self.floor
            + self.size * (parameters / 1e6) ** -self.size_power
            + self.data * (max(size, 1.0) / 1e6) ** -self.data_power
        )

    def known(self, parameters: float, size: float) -> bool:
        """Whether runs of about this size were among those of the fit."""
        (least, most), (few, many) = self.sizes, self.amounts
        return least / 2 <= parameters / 1e6 <= 2 * most and few / 2 <= size / 1e6 <= 2 * many

    def interval(self, parameters: float, size: float) -> tuple[float, float]:
        """About the prediction; twice as wide where nothing of the kind was measured."""
        middle = self.bits_per_byte(parameters, size)
        half = self.spread * (1 if self.known(parameters, size) else 2)
        return middle * (1 - half), middle * (1 + half)


def effective(tokens: float, unique: float) -> float:
    """What ``tokens`` are worth of which ``unique`` are different: each repeat teaches less than the one before."""
    if tokens <= unique:
        return tokens
    return unique * (1 + _REPEATS * (1 - math.exp(-(tokens / unique - 1) / _REPEATS)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Seconds of training a token: ``fixed`` + ``each`` · parameters that are multiplied with (heads count)."""

    fixed: float
    each: float

    def tokens_per_s(self, parameters: float) -> float:
        """Of a model with so many matrix parameters."""
        return 1.0 / (self.fixed + self.each * parameters)


def fit_speed(measured: Sequence[tuple[float, float]]) -> Speed:
    """From (matrix parameters, tokens a second) of models of different sizes: the line of least squares of the relative
    errors, neither part below zero."""
    rows = [(n, 1.0 / tps) for n, tps in measured]
    # Relative errors: (a + b n - s) / s, so the unknowns' columns are 1 / s and n / s, and the wanted values 1.
    aa, ab, bb = (sum(f(n, s) for n, s in rows) for f in (lambda n, s: s**-2, lambda n, s: n / s**2, _square))
    ya, yb = sum(1 / s for _, s in rows), sum(n / s for n, s in rows)
    determinant = aa * bb - ab * ab
    a, b = ((ya * bb - yb * ab) / determinant, (yb * aa - ya * ab) / determinant) if determinant > 0 else (0.0, 0.0)
    if a < 0 or b <= 0:
        a, b = 0.0, yb / bb
    return Speed(fixed=a, each=b)


def _square(n: float, s: float) -> float:
    return (n / s) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A decoder in Llama's form: blocks of ``width`` with gated feed-forward, an embedding table tied to the head."""

    width: int
    layers: int
    vocabulary: int

    @property
    def inner(self) -> int:
        """8/3 of the width, rounded up to 64."""
        return -(-8 * self.width // 3 // 64) * 64

    @property
    def heads(self) -> int:
        """64 wide, or wider."""
        return max(1, self.width // 64)

    @property
    def blocks(self) -> int:
        """Parameters of the blocks' matrices."""
        return self.layers * (4 * self.width * self.width + 3 * self.width * self.inner)

    @property
    def parameters(self) -> int:
        """With the table; norms are left out."""
        return self.blocks + self.vocabulary * self.width


def shapes(vocabulary: int) -> list[Shape]:
    """What is chosen from, small to large."""
    sizes = ((64, 3), (96, 4), (128, 4), (192, 6), (256, 6), (384, 8), (512, 8), (640, 10), (768, 12), (1024, 16))
    return [Shape(width=width, layers=layers, vocabulary=vocabulary) for width, layers in sizes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a run is to be. ``tokens``: expected in the time; ``rows`` of ``length`` tokens make a step."""

    shape: Shape
    tokens: int
    rows: int
    length: int
    learning_rate: float
    bits_per_byte: float
    low: float
    high: float
    known: bool


def choose(
    candidates: Sequence[Shape],
    *,
    seconds: float,
    speed: Speed,
    unique_tokens: int,
    bytes_per_token: float,
    memory: float,
    length: int,
    law: Law | None = None,
) -> Choice:
    """The shape with the lowest predicted bits per byte that ``seconds`` can train.

    None has more parameters in its blocks than there are different tokens, nor more than fit into ``memory`` (bytes);
    the smallest is always allowed where it fits. Raises ``ConfigError`` where none fits.
    """
    law = law or Law()
    fitting = [c for c in candidates if c.parameters * _BYTES_A_WEIGHT <= memory * _ROOM]
    if not fitting:
        raise ConfigError(f"no model fits into {memory / 2**20:.0f} MiB", where="model.preset")
    allowed = [c for c in fitting if c.blocks <= unique_tokens] or fitting[:1]

    def learned(shape: Shape) -> float:
        tokens = seconds * speed.tokens_per_s(shape.parameters)
        return effective(tokens, unique_tokens) * bytes_per_token

    best = min(allowed, key=lambda shape: law.bits_per_byte(shape.blocks, learned(shape)))
    tokens = int(seconds * speed.tokens_per_s(best.parameters))
    low, high = law.interval(best.blocks, learned(best))
    most = math.log2(max(2, best.vocabulary)) / bytes_per_token  # of a model that knows nothing
    return Choice(
        shape=best,
        tokens=tokens,
        rows=rows_of_step(tokens, length),
        length=length,
        learning_rate=round(_PEAK * math.sqrt(_PEAK_WIDTH / best.width), 6),
        bits_per_byte=min(most, law.bits_per_byte(best.blocks, learned(best))),
        low=min(most, low),
        high=min(most, high),
        known=law.known(best.blocks, learned(best)),
    )


def rows_of_step(tokens: int, length: int) -> int:
    """A power of two, so large that ``tokens`` still give some thousands of steps."""
    wanted = min(tokens / _STEPS, _MOST_TOKENS) / length
    return 2 ** int(math.log2(wanted)) if wanted >= 1 else 1
