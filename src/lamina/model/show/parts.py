"""What a specification comes to: parts, shapes, parameters, operations a token, memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import nn

from lamina.model.layers.hollow import hollow
from lamina.model.spec import AttentionSpec, BlockSpec, ModelSpec, NormSpec, StackSpec
from lamina.model.transformer import Transformer

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a stack, or the head: ``times`` equal ones in a row; ``parameters`` of one of them."""

    stack: str  # "encoder", "decoder", "" for what stands on them
    name: str
    what: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    parameters: int
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """``flops``: operations of one token forward (multiply and add count as two) at ``context`` tokens before it;
    training costs three times as many. ``cache_bytes``: keys and values of a token in float32."""

    parts: tuple[Part, ...]
    parameters: int
    flops: int
    context: int
    cache_bytes: int

    @property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of the weights, by their type."""
        return {name: round(self.parameters * size) for name, size in _BYTES.items()}

    def json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "parameters": self.parameters,
            "flops_per_token": self.flops,
            "context": self.context,
            "cache_bytes_per_token": self.cache_bytes,
            "weight_bytes": self.weight_bytes,
            "parts": [
                {
                    "stack": part.stack,
                    "name": part.name,
                    "what": part.what,
                    "times": part.times,
                    "parameters": part.parameters,
                    "tensors": {name: list(shape) for name, shape in part.shapes},
                }
                for part in self.parts
            ],
        }

    def text(self) -> str:
        """A table, a part a line, with the sums below."""
        rows = [
            (f"{part.stack} {part.name}".strip(), _times(part), part.what, f"{part.parameters * part.times:,}")
            for part in self.parts
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in rows]
        weights = ", ".join(f"{size / 1e6:,.0f} MB {name}" for name, size in self.weight_bytes.items())
        forward = f"{self.flops / 1e6:,.1f} MFLOP a token with {self.context:,} before it"
        return "\n".join(
            [
                *lines,
                "",
                f"parameters      {self.parameters:,} ({weights})",
                f"forward         {forward}; training three times that",
                f"keys and values {self.cache_bytes:,} bytes a token (float32)",
            ]
        )


def describe(spec: ModelSpec, *, context: int | None = None) -> Description:
    """What ``spec`` comes to; ``context``: tokens that are attended to (default: half of the longest)."""
    with hollow():
        model = Transformer(spec)
    context = spec.max_positions // 2 if context is None else context
    parts: list[Part] = []
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is not None:
            shared = name == "decoder" and spec.shared_embeddings
            parts += _stack_parts(name, stack, getattr(model, name), shared=shared)
    parts += _top_parts(spec, model)
    return Description(
        parts=tuple(parts),
        parameters=model.parameter_count,
        flops=_flops(spec, model, context),
        context=context,
        cache_bytes=sum(8 * b.attention.kv_heads * b.attention.head_dim for b in spec.decoder.blocks)
        if spec.decoder
        else 0,
    )


def _stack_parts(name: str, spec: StackSpec, stack: Any, *, shared: bool) -> Iterator[Part]:
    embeddings = spec.embeddings
    words = [f"{embeddings.vocabulary:,} tokens × {embeddings.width}"]
    words += ["the encoder's"] * shared
    words += [f"{embeddings.positions} positions"] * (embeddings.positions != "none")
    words += [f"{embeddings.segments} kinds of token"] * bool(embeddings.segments)
    words += [f"times {embeddings.scale:.4g}"] * (embeddings.scale != 1.0)
    words += [f"relative positions, {spec.relative.buckets} buckets" if spec.relative else ""] * bool(spec.relative)
    without = ("token.weight",) if shared else ()
    yield _part(name, "embeddings", ", ".join(words), stack.embeddings, more=stack.relative, without=without)
    numbered = list(enumerate(spec.blocks))
    for block, group in groupby(numbered, key=lambda pair: pair[1]):
        numbers = [number for number, _ in group]
        label = f"block {numbers[0]}" if len(numbers) == 1 else f"blocks {numbers[0]}-{numbers[-1]}"
        yield _part(name, label, block_words(block), stack.blocks[numbers[0]], times=len(numbers))
    if spec.norm is not None:
        yield _part(name, "norm", _norm_words(spec.norm), stack.norm)


def _top_parts(spec: ModelSpec, model: Transformer) -> Iterator[Part]:
    if spec.head is not None and model.head is not None:
        words = [f"{spec.stack.embeddings.vocabulary:,} scores"]
        words += ["tied to the embedding"] * spec.head.tied
        words += [f"after a dense layer, {spec.head.transform}"] * bool(spec.head.transform)
        aliased = spec.head.tied
        yield _part("", "head", ", ".join(words), model.head, without=("weight",) if aliased else ())
    for output in spec.outputs:
        words = [f"{output.labels} labels"] if output.kind in ("classify", "tag") else ["of the whole text"]
        yield _part("", output.kind, words[0], model.outputs[output.kind])


def _part(
    stack: str,
    name: str,
    what: str,
    module: nn.Module,
    *,
    times: int = 1,
    more: nn.Module | None = None,
    without: tuple[str, ...] = (),
) -> Part:
    named = [(n, p) for n, p in module.named_parameters() if n not in without]
    named += [] if more is None else [(f"relative.{n}", p) for n, p in more.named_parameters()]
    shapes = tuple((n, tuple(p.shape)) for n, p in named)
    count = sum(p.numel() for _, p in named)
    return Part(stack=stack, name=name, what=what, shapes=shapes, parameters=count, times=times)


def block_words(block: BlockSpec) -> str:
    """A block in a line."""
    feedforward = block.feedforward
    gated = f"gated {feedforward.activation}" if feedforward.gated else feedforward.activation
    words = [_attention_words(block.attention)]
    words += [f"attention to the encoder ({block.cross.heads} heads)"] if block.cross else []
    words += [f"feed-forward {feedforward.inner:,} {gated}"]
    placement = "no norms" if block.placement == "none" else f"{_norm_words(block.norm)} {block.placement}"
    return "; ".join([*words, placement])


def _attention_words(attention: AttentionSpec) -> str:
    heads = f"{attention.heads} heads of {attention.head_dim}"
    shared = f", {attention.kv_heads} for keys and values" if attention.kv_heads != attention.heads else ""
    words = [heads + shared]
    words += ["rotary"] * bool(attention.rotary)
    words += ["normed queries and keys"] * bool(attention.qk_norm)
    words += [f"window of {attention.window}"] * bool(attention.window)
    return ", ".join(words)


def _norm_words(norm: NormSpec) -> str:
    return {"rms": "RMSNorm", "layer": "LayerNorm"}[norm.kind]


def _times(part: Part) -> str:
    return f"{part.times} ×" if part.times > 1 else ""


def _flops(spec: ModelSpec, model: Transformer, context: int) -> int:
    """2 for each weight of a product, and 4 · heads · head_dim for each token that is attended to."""
    products = sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    attended = 0
    for stack in (spec.encoder, spec.decoder):
        for block in stack.blocks if stack else ():
            for attention in (block.attention, block.cross):
                if attention is not None:
                    seen = min(context, attention.window or context)
                    attended += 4 * attention.heads * attention.head_dim * seen
    return products + attended
