"""Hugging Face model folders as GGUF files that llama.cpp runs: weights in F16, or in blocks of Q8_0 or Q4_0.

Norms and biases stay F32, as llama.cpp's converter leaves them; matrices whose rows are no whole blocks become F16.
The query and key rows of Llama models go into llama.cpp's order, from halves to interleaved pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.gguf.vocabulary import write_vocabulary
from lamina.model.spec import ModelSpec, StackSpec

Kind = Literal["F16", "Q8_0", "Q4_0"]
KINDS: tuple[Kind, ...] = ("F16", "Q8_0", "Q4_0")
_BLOCK = 32  # weights of a block of Q8_0 and Q4_0

_PARTS = {
    "attention_norm": "attn_norm",
    "feedforward_norm": "ffn_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.o": "attn_output",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "feedforward.gate": "ffn_gate",
    "feedforward.up": "ffn_up",
    "feedforward.down": "ffn_down",
}
_WHOLE = {
    "decoder.embeddings.token.weight": "token_embd.weight",
    "decoder.embeddings.position.weight": "position_embd.weight",
    "decoder.norm.weight": "output_norm.weight",
    "decoder.norm.bias": "output_norm.bias",
    "head.weight": "output.weight",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written: the architecture's name in llama.cpp, and how many tensors of each type."""

    architecture: str
    bytes: int
    types: dict[str, int]


def export_gguf(model: Mapping[str, Tensor], spec: ModelSpec, tokenizer: Path, path: Path, *, kind: Kind) -> Exported:
    """Write ``model`` (parameters by our names, a tied head left out) with the ``tokenizer`` of a folder to ``path``.

    Raises ``ModelFileError`` where llama.cpp has no form for the architecture or the tokenizer.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
    from gguf.quants import quantize

    if kind not in KINDS:
        raise ModelFileError(f"the type {kind!r} cannot be written", where=str(path), hint="known: " + ", ".join(KINDS))
    architecture = _architecture(spec, str(path))
    writer = GGUFWriter(str(path), architecture)
    writer.add_file_type({"F16": LlamaFileType.MOSTLY_F16, "Q8_0": LlamaFileType.MOSTLY_Q8_0}.get(
        kind, LlamaFileType.MOSTLY_Q4_0
    ))  # fmt: skip
    writer.add_quantization_version(2)
    _sizes(writer, spec)
    write_vocabulary(writer, tokenizer, size=spec.stack.embeddings.vocabulary)
    counts: dict[str, int] = {}
    for name, values in _tensors(model, spec, architecture):
        chosen = GGMLQuantizationType[_type_of(name, values, kind)]
        counts[chosen.name] = counts.get(chosen.name, 0) + 1
        writer.add_tensor(name, quantize(values, chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Exported(architecture=architecture, bytes=path.stat().st_size, types=counts)


def _type_of(name: str, values: NDArray[np.float32], kind: Kind) -> str:
    if values.ndim < 2 or name == "position_embd.weight":
        return "F32"
    return "F16" if kind == "F16" or values.shape[-1] % _BLOCK else kind


def _architecture(spec: ModelSpec, where: str) -> str:
    """llama.cpp's name for models like ``spec``."""
    from lamina.model.families import family_of_spec

    names = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2"}
    family, _ = family_of_spec(spec)
    windows = any(block.attention.window for block in spec.stack.blocks)
    scaled = any(b.attention.rotary and b.attention.rotary.scaling == "llama3" for b in spec.stack.blocks)
    if family.model_type not in names or windows or scaled:
        what = "windows" if windows else "llama3's rotary scaling" if scaled else f"the family {family.model_type}"
        raise ModelFileError(f"{what} cannot be written as GGUF yet", where=where, hint="known: " + ", ".join(names))
    return names[family.model_type]


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
    if attention.rotary:
        writer.add_key_length(attention.head_dim)
        writer.add_value_length(attention.head_dim)
        writer.add_rope_dimension_count(attention.head_dim)
        writer.add_rope_freq_base(attention.rotary.theta)
        if attention.rotary.scaling == "linear":
            from gguf import RopeScalingType

            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(attention.rotary.factor)


def _tensors(
    model: Mapping[str, Tensor], spec: ModelSpec, architecture: str
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """llama.cpp's names and float32 values."""
    for name, theirs in _WHOLE.items():
        if name in model:
            yield theirs, _array(model[name])
    for i, block in enumerate(spec.stack.blocks):
        attention = block.attention
        order: dict[str, Callable[[Tensor], Tensor]] = {}
        if architecture == "llama":
            order["attention.q"] = lambda t, heads=attention.heads: _interleaved(t, heads)  # type: ignore[misc]
            order["attention.k"] = lambda t, heads=attention.kv_heads: _interleaved(t, heads)  # type: ignore[misc]
        for kind in ("weight", "bias"):
            found = {p: model.get(f"decoder.blocks.{i}.{p}.{kind}") for p in _PARTS}
            if architecture == "gpt2":
                yield f"blk.{i}.attn_qkv.{kind}", _fused([found.pop(f"attention.{p}") for p in "qkv"])
            for part, tensor in found.items():
                if tensor is not None:
                    yield f"blk.{i}.{_PARTS[part]}.{kind}", _array(order.get(part, lambda t: t)(tensor))


def _fused(parts: list[Tensor | None]) -> NDArray[np.float32]:
    return _array(torch.cat([part for part in parts if part is not None]))


def _interleaved(values: Tensor, heads: int) -> Tensor:
    """Rows (heads · 2 · half) from halves to interleaved pairs; of a matrix (rows, D) or a bias (rows,)."""
    half = values.shape[0] // heads // 2
    return values.reshape(heads, 2, half, -1).transpose(1, 2).reshape(values.shape)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().numpy())
