"""A model's layers as the native library takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.product import matrix
from lamina.deployment.engine.operations import fuse
from lamina.model.spec import BlockSpec, StackSpec

Hold = Callable[[Tensor], int]  # keeps a tensor and gives its address
Rounded = Callable[[Any], Any]  # a quantised linear layer for a plain one
_LANES = 16  # heads are whole vectors of so many numbers


def layer(spec: BlockSpec, products: Sequence[Any], norms: Sequence[Any], hold: Hold, **more: Any) -> native.Layer:
    """A layer of ``products`` (qkv, o, up, down) and ``norms`` (before attention, before feed-forward, of queries, of
    keys; None: there is none); ``more``: its attention to a source, and where its angles, keys and values lie."""
    qkv, o, up, down = (matrix(product, hold) for product in products)
    attention_norm, feedforward_norm, query_norm, key_norm = (norm(module, hold) for module in norms)
    attention, feedforward = spec.attention, spec.feedforward
    return native.Layer(
        qkv=qkv,
        o=o,
        up=up,
        down=down,
        attention_norm=attention_norm,
        feedforward_norm=feedforward_norm,
        query_norm=query_norm,
        key_norm=key_norm,
        heads=attention.heads,
        kv_heads=attention.kv_heads,
        head_dim=attention.head_dim,
        inner=feedforward.inner,
        activation=native.ACTIVATIONS.index(feedforward.activation),
        gated=feedforward.gated,
        **more,
    )


def norm(module: Any, hold: Hold) -> native.Norm:
    """A norm; None: none."""
    if module is None:
        return native.Norm()
    bias = getattr(module, "bias", None)
    return native.Norm(
        weight=hold(module.weight.float()),
        bias=None if bias is None else hold(bias.float()),
        epsilon=module.eps,
    )


def known(spec: BlockSpec) -> bool:
    """Whether the library computes the parts of such a block."""
    attention = spec.attention
    of_heads = attention.qk_norm is None or (attention.qk_norm.kind == "rms" and not attention.qk_norm.offset)
    return attention.head_dim % _LANES == 0 and of_heads and not spec.norm.offset


def everywhere(spec: StackSpec) -> bool:
    """Whether a stack's layers attend to all that they may see, with their norms on one side of the parts."""
    placements = {block.placement for block in spec.blocks}
    last = spec.norm is None if placements == {"post"} else spec.norm is not None and not spec.norm.offset
    usual = all(known(b) and not b.attention.window and b.attention.scale is None for b in spec.blocks)
    return usual and last and placements in ({"post"}, {"pre"}) and spec.relative is None


def norms_before(stack: Any, parts: Sequence[str]) -> tuple[list[list[Any]], Any]:
    """The norms before the ``parts`` of each block, and the last one. One after a sum is before what follows it."""
    found = [getattr(block, f"{part}_norm") for block in stack.blocks for part in parts]
    found = [None, *found] if stack.spec.blocks[0].placement == "post" else [*found, stack.norm]
    count = len(parts)
    return [found[n : n + count] for n in range(0, len(found) - 1, count)], found[-1]


def quantized(parts: Sequence[Any], rounded: Rounded) -> Any:
    """One quantised layer for ``parts``, which have the same input."""
    kept = [rounded(part) if part.weight.is_floating_point() else part for part in parts]
    return kept[0] if len(kept) == 1 else fuse(kept)


def products_of(block: Any, rounded: Rounded) -> tuple[Any, ...]:
    """Of a block: queries, keys and values side by side; what follows attention; up (with its gate); down."""
    attention, feedforward = block.attention, block.feedforward
    up = [feedforward.up] if feedforward.gate is None else [feedforward.gate, feedforward.up]
    sides = ([attention.q, attention.k, attention.v], [attention.o], up, [feedforward.down])
    return tuple(quantized(parts, rounded) for parts in sides)
