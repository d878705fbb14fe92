"""A model's layers as the native library takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.product import matrix
from lamina.model.spec import BlockSpec

Hold = Callable[[Tensor], int]  # keeps a tensor and gives its address
_LANES = 16  # heads are whole vectors of so many numbers


def layer(
    spec: BlockSpec, products: Sequence[Any], norms: Sequence[Any], hold: Hold, **more: int | None
) -> native.Layer:
    """A layer of ``products`` (qkv, o, up, down) and ``norms`` (before attention, before feed-forward, of queries, of
    keys; None: there is none); ``more``: where its angles and its keys and values lie."""
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
