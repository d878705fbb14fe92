"""A GGUF file to a Hugging Face folder: configuration, weights, tokenizer, generation settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.gguf.header import Header, TensorInfo, read_header
from lamina.model.gguf.tokenizer import special_ids, write_tokenizer

_NAMES = {
    r"token_embd\.weight": "model.embed_tokens.weight",
    r"output_norm\.weight": "model.norm.weight",
    r"output\.weight": "lm_head.weight",
    r"blk\.(\d+)\.attn_norm\.weight": "model.layers.{i}.input_layernorm.weight",
    r"blk\.(\d+)\.ffn_norm\.weight": "model.layers.{i}.post_attention_layernorm.weight",
    r"blk\.(\d+)\.attn_q\.(weight|bias)": "model.layers.{i}.self_attn.q_proj.{kind}",
    r"blk\.(\d+)\.attn_k\.(weight|bias)": "model.layers.{i}.self_attn.k_proj.{kind}",
    r"blk\.(\d+)\.attn_v\.(weight|bias)": "model.layers.{i}.self_attn.v_proj.{kind}",
    r"blk\.(\d+)\.attn_output\.(weight|bias)": "model.layers.{i}.self_attn.o_proj.{kind}",
    r"blk\.(\d+)\.ffn_gate\.(weight|bias)": "model.layers.{i}.mlp.gate_proj.{kind}",
    r"blk\.(\d+)\.ffn_up\.(weight|bias)": "model.layers.{i}.mlp.up_proj.{kind}",
    r"blk\.(\d+)\.ffn_down\.(weight|bias)": "model.layers.{i}.mlp.down_proj.{kind}",
}
_ARCHITECTURES = ("llama",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What the file says of itself: its name, licence (SPDX or as written), and how many weights it holds."""

    name: str | None
    license: str | None
    architecture: str
    parameters: int
    types: dict[str, int]  # tensors of each quantisation type


def import_gguf(path: Path, folder: Path, *, dtype: torch.dtype = torch.float32) -> Imported:
    """Write the model in the GGUF file ``path`` as a Hugging Face folder (a staging folder, see ``kit.durable``).

    Writes ``config.json``, ``model.safetensors`` in ``dtype``, ``tokenizer.json``, ``tokenizer_config.json`` (with the
    chat template) and ``generation_config.json``. Raises ``ModelFileError`` naming the tensor, key or byte at fault.
    """
    where = str(path)
    header = read_header(path)
    architecture = header.fields.get("general.architecture")
    if architecture not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise ModelFileError(f"the architecture {architecture!r} is not supported", where=where, hint=f"known: {known}")
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(header, where) | special_ids(header.fields)
    weights = {name: tensor.to(dtype).contiguous() for name, tensor in _weights(path, header, config)}
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    config["dtype"] = config["torch_dtype"] = str(dtype).removeprefix("torch.")
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", special_ids(header.fields))
    write_tokenizer(header.fields, folder, where)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    kinds = [_type_name(t.kind) for t in header.tensors]
    return Imported(
        name=header.fields.get("general.name"),
        license=header.fields.get("general.license"),
        architecture=architecture,
        parameters=sum(t.numel() for t in weights.values()),
        types={kind: kinds.count(kind) for kind in sorted(set(kinds))},
    )


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _config(header: Header, where: str) -> dict[str, Any]:
    fields = header.fields

    def read(key: str, default: Any = None) -> Any:
        value = fields.get(f"llama.{key}", default)
        if value is None or isinstance(value, str | list) != isinstance(default, str | list):
            raise ModelFileError(f"the key 'llama.{key}' is missing or of an unknown form", where=where)
        return value

    heads, width = read("attention.head_count"), read("embedding_length")
    head_dim = read("attention.key_length", width // max(heads, 1))
    if read("rope.dimension_count", head_dim) != head_dim:
        raise ModelFileError("rotary positions on a part of each head are not supported", where=where)
    theta = _short(read("rope.freq_base", 10000.0))
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    scaling = read("rope.scaling.type", "none")
    if scaling == "linear":
        rope |= {"rope_type": "linear", "factor": _short(read("rope.scaling.factor", 1.0))}
    elif scaling != "none":
        raise ModelFileError(f"the rope scaling {scaling!r} is not supported", where=where, hint="known: none, linear")
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": _vocabulary(header, where),
        "hidden_size": width,
        "intermediate_size": read("feed_forward_length"),
        "num_hidden_layers": read("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": read("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": read("context_length"),
        "rms_norm_eps": _short(read("attention.layer_norm_rms_epsilon", 1e-5)),
        "attention_bias": any(t.name.endswith("attn_q.bias") for t in header.tensors),
        "mlp_bias": any(t.name.endswith("ffn_up.bias") for t in header.tensors),
        "rope_parameters": rope,
        "rope_theta": theta,
    }


def _short(value: float) -> float:
    """A float32 as the shortest decimal that means it: 9.999999747378752e-06 -> 1e-05."""
    return float(str(np.float32(value)))


def _vocabulary(header: Header, where: str) -> int:
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) == 2:
            return tensor.shape[0]
    raise ModelFileError("the tensor 'token_embd.weight' is missing", where=where)


def _weights(path: Path, header: Header, config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    for info in header.tensors:
        name = _their_name(info, str(path))
        values = torch.from_numpy(_expand(info, data, str(path)))
        if not bool(torch.isfinite(values).all()):
            raise ModelFileError(f"the tensor '{info.name}' holds NaN or infinite values", where=str(path))
        if ".q_proj." in name:
            values = _rotate_half_order(values, config["num_attention_heads"])
        elif ".k_proj." in name:
            values = _rotate_half_order(values, config["num_key_value_heads"])
        yield name, values


def _their_name(info: TensorInfo, where: str) -> str:
    for pattern, name in _NAMES.items():
        if found := re.fullmatch(pattern, info.name):
            groups = found.groups()
            return name.format(i=groups[0] if groups else "", kind=groups[1] if len(groups) > 1 else "")
    raise ModelFileError(f"the tensor '{info.name}' is not one of a Llama model", where=where)


def _rotate_half_order(values: Tensor, heads: int) -> Tensor:
    """Rows (heads · 2 · half) from interleaved pairs to halves; on a matrix (rows, D) or a bias (rows,)."""
    if values.shape[0] % (2 * heads):
        raise ModelFileError(f"{values.shape[0]} rows cannot be shared out over {heads} heads", where="attn_q / attn_k")
    half = values.shape[0] // heads // 2
    return values.view(heads, half, 2, -1).transpose(1, 2).reshape(values.shape)


def _expand(info: TensorInfo, data: np.ndarray, where: str) -> np.ndarray:
    """The tensor as float32 of ``info.shape``."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        kind = GGMLQuantizationType(info.kind)
        block, size = GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError) as error:
        raise _unknown_type(info, where) from error
    if info.shape[-1] % block or not all(info.shape):
        raise ModelFileError(f"the tensor '{info.name}' of shape {info.shape} is not whole blocks", where=where)
    count = 1
    for side in info.shape:
        count *= side
    stored = count // block * size
    if info.start + stored > len(data):
        raise ModelFileError(f"the file ends inside the tensor '{info.name}'", where=where, hint="is it truncated?")
    raw = np.array(data[info.start : info.start + stored])
    try:
        if kind is GGMLQuantizationType.F32:
            expanded = raw.view(np.float32)
        elif kind is GGMLQuantizationType.F16:
            expanded = raw.view(np.float16)
        else:
            expanded = dequantize(raw.reshape(*info.shape[:-1], info.shape[-1] // block * size), kind)
    except NotImplementedError as error:
        raise _unknown_type(info, where) from error
    return np.ascontiguousarray(expanded, dtype=np.float32).reshape(info.shape)


def _type_name(kind: int) -> str:
    from gguf import GGMLQuantizationType

    try:
        return str(GGMLQuantizationType(kind).name)
    except ValueError:
        return f"type {kind}"


def _unknown_type(info: TensorInfo, where: str) -> ModelFileError:
    from gguf import GGMLQuantizationType, quants

    known = ["F32", "F16", *(k.name for k in GGMLQuantizationType if k in quants._type_traits)]
    return ModelFileError(
        f"the tensor '{info.name}' has the type {_type_name(info.kind)}, which cannot be read",
        where=where,
        hint="known: " + ", ".join(known),
    )
