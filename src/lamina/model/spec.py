"""What a transformer is made of, as values: frozen dataclasses that are checked when made and that JSON can hold.

A specification says everything about the computation and nothing about names in a file (that is ``families/``) or
about where the weights lie (that is ``checkpoint``). Each block has its own specification, so layers may differ.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from lamina.kit.errors import ConfigError

Activation = Literal["relu", "gelu", "gelu-tanh", "silu"]
T = TypeVar("T")


def _positive(owner: object, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"'{name}' must be above zero, not {value}", where=type(owner).__name__)


def _one_of(owner: object, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"'{name}' cannot be {value!r}", where=type(owner).__name__, hint="one of " + ", ".join(choices)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NormSpec:
    """Layer normalisation (arXiv 1607.06450) or RMSNorm (arXiv 1910.07467); ``eps`` is added to the variance."""

    kind: Literal["layer", "rms"]
    eps: float

    def __post_init__(self) -> None:
        _one_of(self, "kind", self.kind, ("layer", "rms"))
        _positive(self, eps=self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class RotarySpec:
    """Rotary position embedding (arXiv 2104.09864) in the rotate-half layout; ``theta`` is the base of the wavelengths.

    ``scaling`` stretches the wavelengths for longer contexts: "linear" divides every position by ``factor``; "llama3"
    divides only the long wavelengths, with a smooth band between ``original_positions`` / ``low`` and / ``high``.
    """

    theta: float = 10000.0
    scaling: Literal["none", "linear", "llama3"] = "none"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original_positions: int = 8192

    def __post_init__(self) -> None:
        _one_of(self, "scaling", self.scaling, ("none", "linear", "llama3"))
        _positive(self, theta=self.theta, factor=self.factor, original_positions=self.original_positions)
        if self.scaling == "llama3" and not self.high > self.low > 0:
            raise ConfigError("'high' must be above 'low'", where="RotarySpec")


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionSpec:
    """Causal self-attention; ``heads`` queries share ``kv_heads`` keys and values (GQA, arXiv 2305.13245)."""

    heads: int
    kv_heads: int
    head_dim: int
    bias: bool = False  # of the query, key and value projections
    out_bias: bool = False
    qk_norm: NormSpec | None = None  # on each head's queries and keys, before the rotation (arXiv 2302.05442)
    rotary: RotarySpec | None = None

    def __post_init__(self) -> None:
        _positive(self, heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim)
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"{self.heads} heads cannot be shared out over {self.kv_heads} key-value heads",
                where="AttentionSpec",
                hint="'heads' must be a multiple of 'kv_heads'",
            )
        if self.rotary and self.head_dim % 2:
            raise ConfigError(f"rotary positions need an even 'head_dim', not {self.head_dim}", where="AttentionSpec")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedForwardSpec:
    """``down(act(up(x)))``, or gated ``down(act(gate(x)) * up(x))`` (arXiv 2002.05202); ``inner``: the hidden width."""

    inner: int
    activation: Activation
    gated: bool = False
    bias: bool = False

    def __post_init__(self) -> None:
        _positive(self, inner=self.inner)
        _one_of(self, "activation", self.activation, typing.get_args(Activation))


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """Attention and feed-forward, each after its norm and with a residual path around it (pre-norm)."""

    attention: AttentionSpec
    feedforward: FeedForwardSpec
    norm: NormSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingSpec:
    """A table of token vectors and, with ``positions = "learned"``, a table of ``max_positions`` place vectors."""

    vocabulary: int
    width: int
    positions: Literal["none", "learned"] = "none"

    def __post_init__(self) -> None:
        _positive(self, vocabulary=self.vocabulary, width=self.width)
        _one_of(self, "positions", self.positions, ("none", "learned"))


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadSpec:
    """The language modelling head; ``tied`` = its matrix is the token embedding (arXiv 1608.05859)."""

    kind: Literal["language-model"] = "language-model"
    tied: bool = True

    def __post_init__(self) -> None:
        _one_of(self, "kind", self.kind, ("language-model",))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A decoder-only transformer: embeddings, blocks, the final norm, the head, and the longest context in tokens."""

    embeddings: EmbeddingSpec
    blocks: tuple[BlockSpec, ...]
    norm: NormSpec
    head: HeadSpec
    max_positions: int

    def __post_init__(self) -> None:
        _positive(self, max_positions=self.max_positions)
        if not self.blocks:
            raise ConfigError("a model needs at least one block", where="ModelSpec")

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; ``ModelSpec.from_json`` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelSpec:
        """The specification that ``to_json`` wrote; an unknown or missing key is a ``ConfigError`` that names it."""
        return _build(cls, values, "spec")


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    no_default = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    missing = sorted(no_default - set(values))
    if unknown or missing:
        words = [f"unknown keys: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(
            missing
        )
        raise ConfigError("; ".join(words), where=where, hint="known: " + ", ".join(fields))
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"expected a table, found {type(value).__name__}", where=where)
        return _build(hint, value, where)
    if typing.get_origin(hint) is tuple:
        return tuple(_value(typing.get_args(hint)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"expected {hint.__name__}, found {value!r}", where=where)
    return value
