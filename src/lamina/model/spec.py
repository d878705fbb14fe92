"""What a transformer is made of, as values: frozen dataclasses that are checked when made and that JSON can hold.

A specification says everything about the computation and nothing about names in a file (that is ``families/``) or
about where the weights lie (that is ``checkpoint``). Each block has its own specification, so layers may differ.
Encoder-only, decoder-only and encoder-decoder models differ by which stacks they have, and by their heads.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lamina.kit.errors import ConfigError
from lamina.model.spec_json import build

Activation = Literal["relu", "relu2", "gelu", "gelu-tanh", "silu"]
Positions = Literal["none", "learned", "sinusoidal", "interleaved"]
Placement = Literal["pre", "post", "sandwich", "none"]
Output = Literal["pooler", "next-sentence", "classify", "tag", "reward"]


def _positive(owner: object, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"'{name}' must be above zero, not {value}", where=type(owner).__name__)


def _one_of(owner: object, name: str, kind: Any) -> None:
    choices, value = typing.get_args(kind), getattr(owner, name)
    if value not in choices:
        raise ConfigError(
            f"'{name}' cannot be {value!r}", where=type(owner).__name__, hint="one of " + ", ".join(choices)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NormSpec:
    """Layer normalisation (arXiv 1607.06450) or RMSNorm (arXiv 1910.07467); ``eps`` is added to the variance.

    ``offset``: the weights are stored less one, as Gemma's are (arXiv 2503.19786).
    """

    kind: Literal["layer", "rms"]
    eps: float
    offset: bool = False

    def __post_init__(self) -> None:
        _one_of(self, "kind", Literal["layer", "rms"])
        _positive(self, eps=self.eps)
        if self.offset and self.kind != "rms":
            raise ConfigError("only the weights of an RMSNorm are stored with an offset", where="NormSpec")


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
        _one_of(self, "scaling", Literal["none", "linear", "llama3"])
        _positive(self, theta=self.theta, factor=self.factor, original_positions=self.original_positions)
        if self.scaling == "llama3" and not self.high > self.low > 0:
            raise ConfigError("'high' must be above 'low'", where="RotarySpec")


@dataclass(frozen=True, kw_only=True, slots=True)
class RelativeSpec:
    """T5's relative position bias (arXiv 1910.10683): a learned number for each head and distance, in ``buckets``.

    Half of the buckets stand for one distance each, the others for ranges that widen up to ``max_distance``. All
    self-attentions of a stack share the table.
    """

    buckets: int = 32
    max_distance: int = 128

    def __post_init__(self) -> None:
        _positive(self, buckets=self.buckets, max_distance=self.max_distance)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionSpec:
    """Self- or cross-attention; ``heads`` queries share ``kv_heads`` keys and values (GQA, arXiv 2305.13245).

    ``window``: a token sees the so many nearest tokens (itself counts), on either side where it may (arXiv 2004.05150).
    ``scale``: what the products of queries and keys are multiplied by; None = 1 / sqrt(``head_dim``).
    """

    heads: int
    kv_heads: int
    head_dim: int
    bias: bool = False  # of the query, key and value projections
    out_bias: bool = False
    qk_norm: NormSpec | None = None  # on each head's queries and keys, before the rotation (arXiv 2302.05442)
    rotary: RotarySpec | None = None
    window: int | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        _positive(self, heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim)
        _positive(self, window=self.window or 1, scale=1.0 if self.scale is None else self.scale)
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
        _one_of(self, "activation", Activation)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """Self-attention, attention to an encoder where ``cross`` is given, and feed-forward, each in a residual path.

    ``placement`` of the norms: "pre" before each part (arXiv 2002.04745), "post" after the residual sum
    (arXiv 1706.03762), "sandwich" before and after each part (arXiv 2105.13290), "none".
    """

    attention: AttentionSpec
    feedforward: FeedForwardSpec
    norm: NormSpec
    placement: Placement = "pre"
    cross: AttentionSpec | None = None

    def __post_init__(self) -> None:
        _one_of(self, "placement", Placement)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingSpec:
    """A table of token vectors times ``scale``, plus place vectors, plus vectors of ``segments`` kinds of token.

    ``positions``: "learned"; "sinusoidal" (arXiv 1706.03762) with the sines in the first half of the width and the
    cosines in the second; "interleaved" with both in turn, as in the paper. ``norm``: over the sum, as in BERT.
    """

    vocabulary: int
    width: int
    positions: Positions = "none"
    segments: int = 0
    scale: float = 1.0
    norm: NormSpec | None = None

    def __post_init__(self) -> None:
        _positive(self, vocabulary=self.vocabulary, width=self.width, scale=self.scale)
        _one_of(self, "positions", Positions)
        if self.positions in ("sinusoidal", "interleaved") and self.width % 2:
            raise ConfigError(f"sinusoidal positions need an even 'width', not {self.width}", where="EmbeddingSpec")


@dataclass(frozen=True, kw_only=True, slots=True)
class StackSpec:
    """Embeddings, blocks and the norm after the last block (None: it has none, as where norms come "post").

    ``causal``: a token sees those before it and itself; otherwise the whole document.
    """

    embeddings: EmbeddingSpec
    blocks: tuple[BlockSpec, ...]
    norm: NormSpec | None
    causal: bool
    relative: RelativeSpec | None = None

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ConfigError("a stack needs at least one block", where="StackSpec")
        if self.relative and len({block.attention.heads for block in self.blocks}) > 1:
            raise ConfigError("blocks that share a relative bias need the same 'heads'", where="StackSpec")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadSpec:
    """Scores over the vocabulary; ``tied`` = its matrix is the token embedding (arXiv 1608.05859).

    ``transform``: a dense layer with this activation and ``norm`` before it (BERT, arXiv 1810.04805). ``scale``: what
    hidden states are multiplied by (T5: width ** -0.5).
    """

    tied: bool = True
    bias: bool = False
    scale: float = 1.0
    transform: Activation | None = None
    norm: NormSpec | None = None

    def __post_init__(self) -> None:
        _positive(self, scale=self.scale)
        if (self.transform is None) != (self.norm is None):
            raise ConfigError("'transform' and 'norm' come together", where="HeadSpec")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSpec:
    """An output of its own beside the vocabulary's scores.

    "pooler": tanh of a dense layer over the first token, (B, D), for BERT's outputs of whole texts. "next-sentence"
    (2 scores) and "classify" (``labels`` scores) stand on it where there is one, else on the text's first token, or,
    in a causal stack, its last. "tag": ``labels`` scores a token. "reward": one score a text. ``bias``: of "classify",
    which has none over a decoder in Hugging Face's files.
    """

    kind: Output
    labels: int = 1
    bias: bool = True

    def __post_init__(self) -> None:
        _one_of(self, "kind", Output)
        _positive(self, labels=self.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """An encoder, a decoder, or both; the head, further outputs, and the longest context in tokens.

    With both, the decoder's blocks attend to the encoder's last hidden states; ``shared_embeddings``: they have one
    token table; a text begins with ``start_token``. ``dropout`` (while training) is of embeddings and residual paths.
    """

    decoder: StackSpec | None = None
    encoder: StackSpec | None = None
    head: HeadSpec | None = None
    outputs: tuple[OutputSpec, ...] = ()
    max_positions: int
    shared_embeddings: bool = False
    start_token: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, max_positions=self.max_positions)
        if self.decoder is None and self.encoder is None:
            raise ConfigError("a model needs an encoder or a decoder", where="ModelSpec")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"'dropout' must be from 0 to below 1, not {self.dropout}", where="ModelSpec")
        crossing = bool(self.decoder) and any(block.cross for block in self.stack.blocks)
        if crossing != (self.decoder is not None and self.encoder is not None):
            raise ConfigError(
                "a decoder's blocks have a 'cross' where there is an encoder, else none", where="ModelSpec"
            )
        if len({output.kind for output in self.outputs}) < len(self.outputs):
            raise ConfigError("two outputs of one kind", where="ModelSpec")

    @property
    def stack(self) -> StackSpec:
        """The stack that heads and outputs stand on: the decoder where there is one."""
        stack = self.decoder or self.encoder
        assert stack is not None  # checked when made
        return stack

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; ``ModelSpec.from_json`` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelSpec:
        """The specification that ``to_json`` wrote; an unknown or missing key is a ``ConfigError`` that names it."""
        return build(cls, values, "spec")
