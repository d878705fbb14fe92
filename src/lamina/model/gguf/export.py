"""Hugging Face model folders as GGUF files that llama.cpp runs: weights in F16, in blocks of Q8_0 or Q4_0, or in those
that they come in.

Norms and biases stay F32, as llama.cpp's converter leaves them; matrices whose rows are no whole blocks become F16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.gguf.forms import (
    FREQUENCIES,
    FUSED,
    PARTS,
    WHOLE,
    Form,
    form_of,
    interleaved,
    rope_divisors,
    whole_norm,
)
from lamina.model.gguf.vocabulary import write_vocabulary
from lamina.model.spec import ModelSpec, StackSpec

Kind = Literal["F16", "F32", "Q8_0", "Q4_0"]
KINDS: tuple[Kind, ...] = ("F16", "F32", "Q8_0", "Q4_0")
_BLOCK = 32  # weights of a block of Q8_0 and Q4_0


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix in blocks already: ``rows`` uint8 (N, bytes of a row)."""

    kind: Literal["Q8_0", "Q4_1", "Q4_0"]
    rows: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written: the architecture's name in llama.cpp, and how many tensors of each type."""

    architecture: str
    bytes: int
    types: dict[str, int]


def export_gguf(
    model: Mapping[str, Tensor | Blocks], spec: ModelSpec, tokenizer: Path, path: Path, *, kind: Kind
) -> Exported:
    """Write ``model`` (parameters by our names, a tied head left out) with the ``tokenizer`` of a folder to ``path``.

    ``kind``: of the matrices that are not ``Blocks`` yet. Raises ``ModelFileError`` where llama.cpp has no form for the
    architecture or the tokenizer.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
    from gguf.quants import quantize

    if kind not in KINDS:
        raise ModelFileError(f"the type {kind!r} cannot be written", where=str(path), hint="known: " + ", ".join(KINDS))
    architecture, form = form_of(spec, str(path))
    writer = GGUFWriter(str(path), architecture)
    kinds = {values.kind for values in model.values() if isinstance(values, Blocks)}
    mostly = next((known for known in ("Q4_1", "Q4_0", "Q8_0") if known in kinds), kind)
    writer.add_file_type(LlamaFileType["ALL_F32" if mostly == "F32" else f"MOSTLY_{mostly}"])
    writer.add_quantization_version(2)
    _sizes(writer, spec)
    write_vocabulary(writer, tokenizer, size=spec.stack.embeddings.vocabulary)
    counts: dict[str, int] = {}
    for name, values in _tensors(model, spec, form):
        if isinstance(values, Blocks):
            chosen, data = GGMLQuantizationType[values.kind], values.rows.numpy()
        else:
            chosen = GGMLQuantizationType[_type_of(name, values, kind)]
            data = quantize(values, chosen)
        counts[chosen.name] = counts.get(chosen.name, 0) + 1
        writer.add_tensor(name, data, raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Exported(architecture=architecture, bytes=path.stat().st_size, types=counts)


def _type_of(name: str, values: NDArray[np.float32], kind: Kind) -> str:
    if values.ndim < 2 or name == "position_embd.weight":
        return "F32"
    return "F16" if kind in ("Q8_0", "Q4_0") and values.shape[-1] % _BLOCK else kind


def _sizes(writer: Any, spec: ModelSpec) -> None:
    stack: StackSpec = spec.stack
    attention, feedforward = stack.blocks[0].attention, stack.blocks[0].feedforward
    writer.add_context_length(spec.max_positions)
    writer.add_embedding_length(stack.embeddings.width)
    writer.add_block_count(len(stack.blocks))
    writer.add_feed_forward_length(feedforward.inner)
    writer.add_head_count(attention.heads)
    writer.add_head_count_kv(attention.kv_heads)
    writer.add_vocab_size(stack.embeddings.vocabulary)
    eps = stack.blocks[0].norm.eps
    if stack.blocks[0].norm.kind == "layer":
        writer.add_layer_norm_eps(eps)
    else:
        writer.add_layer_norm_rms_eps(eps)
    windows = {block.attention.window for block in stack.blocks} - {None}
    if windows:
        writer.add_sliding_window(windows.pop())
    if any(block.attention.rotary for block in stack.blocks):
        _positions(writer, spec)


def _positions(writer: Any, spec: ModelSpec) -> None:
    """Rotary positions: those of layers that see everything, and where others see a window theirs, too."""
    from gguf import RopeScalingType

    blocks = [block.attention for block in spec.stack.blocks if block.attention.rotary]
    windowed = next((a.rotary for a in blocks if a.window), None)
    rotary = next((a.rotary for a in blocks if not a.window), windowed)
    assert rotary is not None
    writer.add_key_length(blocks[0].head_dim)
    writer.add_value_length(blocks[0].head_dim)
    writer.add_rope_dimension_count(blocks[0].head_dim)
    writer.add_rope_freq_base(rotary.theta)
    if windowed is not None:
        writer.add_rope_freq_base_swa(windowed.theta)
    if rotary.scaling == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rotary.factor)
    elif rotary.scaling == "llama3":
        writer.add_rope_scaling_orig_ctx_len(rotary.original_positions)
        writer.add_tensor(FREQUENCIES, rope_divisors(rotary, blocks[0].head_dim))


def _tensors(
    model: Mapping[str, Tensor | Blocks], spec: ModelSpec, form: Form
) -> Iterator[tuple[str, NDArray[np.float32] | Blocks]]:
    """llama.cpp's names and float32 values, or blocks."""
    for ours, theirs in WHOLE.items():
        if ours in model:
            yield theirs, _written(theirs, model[ours], form)
    for i, block in enumerate(spec.stack.blocks):
        heads = {"attention.q": block.attention.heads, "attention.k": block.attention.kv_heads}
        for kind in ("weight", "bias"):
            found = {p: model.get(f"decoder.blocks.{i}.{p}.{kind}") for p in PARTS}
            if form.model_type == "gpt2":
                name = f"blk.{i}.{FUSED}.{kind}"
                yield name, _written(name, _fused([found.pop(f"attention.{p}") for p in "qkv"], name), form)
            for part, tensor in found.items():
                if tensor is not None:
                    turns = heads[part] if form.interleaved and part in heads else None
                    name = f"blk.{i}.{PARTS[part]}.{kind}"
                    yield name, _written(name, tensor, form, turns=turns)


def _written(
    name: str, values: Tensor | Blocks, form: Form, *, turns: int | None = None
) -> NDArray[np.float32] | Blocks:
    """As the file has them; ``turns``: of so many heads whose rows it has in another order."""
    rows = values.rows if isinstance(values, Blocks) else values
    if turns is not None:
        rows = interleaved(rows, turns)
    if isinstance(values, Blocks):
        return Blocks(values.kind, rows.contiguous())
    return _array(whole_norm(name, rows, 1.0) if form.whole_norms else rows)


def _fused(parts: Sequence[Tensor | Blocks | None], name: str) -> Tensor | Blocks:
    """``parts`` under one another. Raises ``ModelFileError`` where they come in unlike forms."""
    found = [part for part in parts if part is not None]
    blocks = [part for part in found if isinstance(part, Blocks)]
    if not blocks:
        return torch.cat([part for part in found if not isinstance(part, Blocks)])
    if len(blocks) < len(found) or len({part.kind for part in blocks}) > 1:
        raise ModelFileError("queries, keys and values are of unlike types", where=name)
    return Blocks(blocks[0].kind, torch.cat([part.rows for part in blocks]))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().numpy())
