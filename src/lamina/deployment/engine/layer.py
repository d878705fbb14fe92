"""A transformer block as the runner computes it: fused products, plain functions, its store of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.deployment.engine.cache import kept
from lamina.deployment.engine.memory import make_store
from lamina.deployment.engine.operations import bare, fuse, norm
from lamina.kit.errors import ConfigError
from lamina.model.spec import BlockSpec, HeadSpec, ModelSpec


@dataclass(slots=True)
class Layer:
    """See ``runner`` for how keys and values lie."""

    spec: BlockSpec
    attention_norm: Callable[[Tensor], Tensor]
    q_norm: nn.Module | None
    k_norm: nn.Module | None
    feedforward_norm: Callable[[Tensor], Tensor]
    attention_after: Callable[[Tensor], Tensor]  # what a part's output goes through before it is added
    feedforward_after: Callable[[Tensor], Tensor]
    activation: Callable[[Tensor], Tensor]
    rotary: tuple[Tensor, Tensor] | None
    store: Tensor  # (2 · kv_heads, slots, head_dim): keys, then values
    scales: Tensor | None  # (2 · kv_heads, slots) of int8 numbers in the store; None: they are floating point
    turning: int  # heads that rotary positions turn: queries and keys
    products: tuple[Any, ...]  # qkv, o, up (gate and up side by side), down
    few_rows: tuple[Callable[[Tensor], Tensor], ...]  # the same as bare functions, for decoding

    @property
    def dtype(self) -> torch.dtype:
        """Of queries, keys and values while they are computed with."""
        return torch.float32 if self.store.dtype in (torch.int8, torch.float16) else self.store.dtype

    def put(self, slots: int | Tensor, kv: Tensor) -> None:
        """Keep the keys and values ``kv`` (T, 2 · kv_heads, head_dim) of the tokens in ``slots`` (T,), or of one."""
        numbers, scales = kept(kv, self.store.dtype)
        for store, new in ((self.store, numbers), (self.scales, scales)):
            if store is None or new is None:
                continue
            if isinstance(slots, int):
                store.select(1, slots).copy_(new[0])
            else:
                store.index_copy_(1, slots, new.transpose(0, 1))

    def seen(self, view: slice | Tensor) -> Tensor:
        """Keys and values (2 · kv_heads, T, head_dim) of the slots in ``view``: where they lie if they can be."""

        def of(store: Tensor) -> Tensor:
            if isinstance(view, slice):
                return store.narrow(1, view.start, view.stop - view.start)
            return store.index_select(1, view)

        if self.scales is None:
            return of(self.store).to(self.dtype)
        return of(self.store) * of(self.scales).unsqueeze(-1)


def make_layer(
    stack: Any, index: int, tables: Mapping[Any, tuple[Tensor, Tensor]], slots: int, dtype: torch.dtype
) -> Layer:
    """Block ``index`` of ``stack``, its projections fused, with room for ``slots`` tokens in ``dtype``."""
    block: Any = stack.blocks[index]
    spec: BlockSpec = stack.spec.blocks[index]
    attention, feedforward = block.attention, block.feedforward
    up = feedforward.up if feedforward.gate is None else fuse([feedforward.gate, feedforward.up])
    products: tuple[Any, ...] = (fuse([attention.q, attention.k, attention.v]), attention.o, up, feedforward.down)
    kv_heads, device = spec.attention.kv_heads, products[0].weight.device
    store = make_store((2 * kv_heads, slots, spec.attention.head_dim), dtype, device)
    scales = make_store((2 * kv_heads, slots), torch.float32, device) if dtype == torch.int8 else None
    return Layer(
        spec=spec,
        attention_norm=norm(block.attention_norm, spec.norm),
        q_norm=attention.q_norm,
        k_norm=attention.k_norm,
        feedforward_norm=norm(block.feedforward_norm, spec.norm),
        attention_after=_after(block, "attention", spec),
        feedforward_after=_after(block, "feedforward", spec),
        activation=feedforward.activation,
        rotary=tables[spec.attention.rotary, spec.attention.head_dim] if spec.attention.rotary else None,
        store=store,
        scales=scales,
        turning=spec.attention.heads + kv_heads,
        products=products,
        few_rows=tuple(p.few_rows() if hasattr(p, "few_rows") else bare(p) for p in products),
    )


def _after(block: Any, part: str, spec: BlockSpec) -> Callable[[Tensor], Tensor]:
    """The norm behind a part, where there is one."""
    if spec.placement != "sandwich":
        return lambda out: out
    normed = norm(getattr(block, f"{part}_after"), spec.norm)
    return lambda out: normed(out.float())


def let_go(layers: Iterable[Layer], blocks: nn.Module) -> None:
    """Drop the quantised weights of ``layers`` and ``blocks``, where another copy computes everything."""
    for layer in layers:
        layer.products = layer.few_rows = ()
    for module in blocks.modules():
        weight: Any = getattr(module, "weight", None)
        if weight is not None and not weight.is_floating_point():
            module.weight = weight.new_empty(0)


def check_served(spec: ModelSpec) -> None:
    """Raise ``ConfigError`` where the steps above would not compute what ``Transformer.forward`` does."""
    stack = spec.stack
    usual = stack.norm and all(block.placement in ("pre", "sandwich") for block in stack.blocks)
    plain = spec.head is not None and spec.head == HeadSpec(tied=spec.head.tied) and spec.encoder is None
    if not (usual and plain and stack.causal and stack.relative is None):
        raise ConfigError(
            "the engine serves decoders with norms before their parts and a plain head",
            where="deployment",
            hint="this model can be trained and evaluated, not served yet",
        )


def is_plain(block: BlockSpec) -> bool:
    """Whether it is of the form that the kernels of every way know: norms before its parts alone, whose weights are
    stored as they are, and attention to the whole context with the usual scale. Torch's way knows the others."""
    attention = block.attention
    return block.placement == "pre" and not block.norm.offset and attention.window is None and attention.scale is None
