"""How llama.cpp writes each family: the names of its tensors and what stands in the header, read and written alike.

The conventions are those of llama.cpp's converter: query and key rows of Llama and SmolLM3 in interleaved pairs (its
rotary embedding of these is), Gemma's norms whole (the Hugging Face files have them less one), GPT-2's query, key and
value in one matrix, the rotary scaling of Llama 3 as a tensor of divisors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.gguf.header import Header
from lamina.model.layers.embeddings import wavelengths
from lamina.model.spec import ModelSpec, RotarySpec

#: Our names of a block's parts, and llama.cpp's.
PARTS = {
    "attention_norm": "attn_norm",
    "attention_after": "post_attention_norm",
    "feedforward_norm": "ffn_norm",
    "feedforward_after": "post_ffw_norm",
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
#: And of what is no block's.
WHOLE = {
    "decoder.embeddings.token.weight": "token_embd.weight",
    "decoder.embeddings.position.weight": "position_embd.weight",
    "decoder.norm.weight": "output_norm.weight",
    "decoder.norm.bias": "output_norm.bias",
    "head.weight": "output.weight",
}
FUSED = "attn_qkv"  # GPT-2's query, key and value
FREQUENCIES = "rope_freqs.weight"  # what Llama 3 divides angular frequencies by
ORIGINAL = "rope.scaling.original_context_length"
_NOPE_EVERY = 4  # llama.cpp: of SmolLM3's layers this one has no positions
_FULL_EVERY = 6  # llama.cpp: of Gemma 3's layers this one sees everything
_SLIDING_THETA = 10000.0  # of Gemma 3's other layers
_GEMMA_27B = 62  # layers of the one whose scale is not its heads' width
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


class Metadata:
    """The header of a file, its keys without the architecture's name before them."""

    def __init__(self, header: Header, where: str, frequencies: NDArray[np.float32] | None = None) -> None:
        self.header, self.where, self.frequencies = header, where, frequencies
        self.architecture = str(header.fields.get("general.architecture"))

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the architecture. Raises ``ModelFileError`` where it is missing, or of another form."""
        name = f"{self.architecture}.{key}"
        value = self.header.fields.get(name, default)
        if value is None or isinstance(value, str | list) != isinstance(default, str | list):
            raise ModelFileError(f"the key '{name}' is missing or of an unknown form", where=self.where)
        return short(value) if isinstance(value, float) else value

    def has(self, ending: str) -> bool:
        """Whether there is a tensor whose name ends so."""
        return any(tensor.name.endswith(ending) for tensor in self.header.tensors)

    def rows(self, name: str) -> int:
        """Of a tensor that must be there."""
        for tensor in self.header.tensors:
            if tensor.name == name and len(tensor.shape) == 2:
                return tensor.shape[0]
        raise ModelFileError(f"the tensor '{name}' is missing", where=self.where)

    def refuse(self, what: str, hint: str | None = None) -> ModelFileError:
        """The error, to be raised."""
        return ModelFileError(what, where=self.where, hint=hint)


def short(value: float) -> float:
    """A float32 as the shortest decimal that means it: 9.999999747378752e-06 -> 1e-05."""
    return float(str(np.float32(value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """An architecture of llama.cpp's: the Hugging Face ``model_type``, and its ``config.json`` from a header.

    ``interleaved``: rows of queries and keys are; ``whole_norms``: the file has them one more than the spec.
    """

    model_type: str
    config: Callable[[Metadata], dict[str, Any]]
    interleaved: bool = False
    whole_norms: bool = False


def _common(meta: Metadata) -> dict[str, Any]:
    """What Llama and its descendants have."""
    heads, width = meta.get("attention.head_count"), meta.get("embedding_length")
    head_dim = meta.get("attention.key_length", width // max(heads, 1))
    if meta.get("rope.dimension_count", head_dim) != head_dim:
        raise meta.refuse("rotary positions on a part of each head are not supported")
    return {
        "vocab_size": meta.rows(WHOLE["decoder.embeddings.token.weight"]),
        "hidden_size": width,
        "intermediate_size": meta.get("feed_forward_length"),
        "num_hidden_layers": meta.get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": meta.get("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": meta.get("context_length"),
        "rms_norm_eps": meta.get("attention.layer_norm_rms_epsilon", 1e-5),
        "attention_bias": meta.has("attn_q.bias"),
        "mlp_bias": meta.has("ffn_up.bias"),
        "rope_parameters": _rotary(meta, head_dim),
    }


def _rotary(meta: Metadata, head_dim: int) -> dict[str, Any]:
    theta, scaling = meta.get("rope.freq_base", 10000.0), meta.get("rope.scaling.type", "none")
    if meta.frequencies is not None:
        return _llama3(meta, theta, head_dim, meta.frequencies)
    if scaling == "linear":
        return {"rope_type": "linear", "rope_theta": theta, "factor": meta.get("rope.scaling.factor", 1.0)}
    if scaling != "none":
        raise meta.refuse(f"the rope scaling {scaling!r} is not supported", "known: none, linear, and Llama 3's")
    return {"rope_type": "default", "rope_theta": theta}


def _llama3(meta: Metadata, theta: float, head_dim: int, divisors: NDArray[np.float32]) -> dict[str, Any]:
    """The scaling whose divisors these are: the file has the divisors, not what they were made from."""
    factor, positions = float(divisors.max()), meta.get(ORIGINAL, 8192)
    if factor == 1.0:
        return {"rope_type": "default", "rope_theta": theta}
    low, high = _LLAMA3["low_freq_factor"], _LLAMA3["high_freq_factor"]
    spec = RotarySpec(theta=theta, scaling="llama3", factor=factor, low=low, high=high, original_positions=positions)
    expected = rope_divisors(spec, head_dim)
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-4):
        raise meta.refuse(f"the tensor '{FREQUENCIES}' is not the scaling of Llama 3 over {positions} positions")
    return {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": factor,
        **_LLAMA3,
        "original_max_position_embeddings": positions,
    }


def rope_divisors(spec: RotarySpec, head_dim: int) -> NDArray[np.float32]:
    """What ``spec`` divides each angular frequency by, (head_dim / 2,)."""
    plain = wavelengths(RotarySpec(theta=spec.theta), head_dim)
    return np.asarray((plain / wavelengths(spec, head_dim)).numpy(), dtype=np.float32)


def _llama(meta: Metadata) -> dict[str, Any]:
    return _common(meta)


def _qwen2(meta: Metadata) -> dict[str, Any]:
    return {**_without_divisors(meta), "use_sliding_window": False}


def _smollm3(meta: Metadata) -> dict[str, Any]:
    turned = [int((i + 1) % _NOPE_EVERY != 0) for i in range(meta.get("block_count"))]
    return {**_without_divisors(meta), "no_rope_layers": turned, "use_sliding_window": False}


def _without_divisors(meta: Metadata) -> dict[str, Any]:
    if meta.frequencies is not None:
        raise meta.refuse(f"the tensor '{FREQUENCIES}' is not one of a model of the architecture {meta.architecture}")
    return _common(meta)


def _gemma3(meta: Metadata) -> dict[str, Any]:
    config = _without_divisors(meta)
    layers, window = config["num_hidden_layers"], meta.get("attention.sliding_window", 1024)
    every = meta.get("attention.sliding_window_pattern", _FULL_EVERY)
    full = config.pop("rope_parameters")
    config["hidden_activation"] = "gelu_pytorch_tanh"
    del config["hidden_act"]
    theta = meta.get("rope.freq_base_swa", _SLIDING_THETA)
    wide = layers == _GEMMA_27B
    scalar = config["hidden_size"] // config["num_attention_heads"] if wide else config["head_dim"]
    return {
        **config,
        "query_pre_attn_scalar": scalar,
        "sliding_window": window,
        "layer_types": ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(layers)],
        "rope_parameters": {
            "full_attention": full,
            "sliding_attention": {"rope_type": "default", "rope_theta": theta},
        },
    }


def _gpt2(meta: Metadata) -> dict[str, Any]:
    return {
        "vocab_size": meta.rows(WHOLE["decoder.embeddings.token.weight"]),
        "n_positions": meta.rows(WHOLE["decoder.embeddings.position.weight"]),
        "n_embd": meta.get("embedding_length"),
        "n_layer": meta.get("block_count"),
        "n_head": meta.get("attention.head_count"),
        "n_inner": meta.get("feed_forward_length"),
        "layer_norm_epsilon": meta.get("attention.layer_norm_epsilon", 1e-5),
    }


#: By llama.cpp's names.
FORMS: Mapping[str, Form] = {
    "llama": Form(model_type="llama", config=_llama, interleaved=True),
    "qwen2": Form(model_type="qwen2", config=_qwen2),
    "qwen3": Form(model_type="qwen3", config=_qwen2),
    "gemma3": Form(model_type="gemma3_text", config=_gemma3, whole_norms=True),
    "smollm3": Form(model_type="smollm3", config=_smollm3, interleaved=True),
    "gpt2": Form(model_type="gpt2", config=_gpt2),
}


def form_of(spec: ModelSpec, where: str) -> tuple[str, Form]:
    """The architecture that llama.cpp runs ``spec`` as. Raises ``ModelFileError`` where it has none."""
    from lamina.model.families import family_of_spec

    family, _ = family_of_spec(spec)
    blocks = [block.attention for block in spec.stack.blocks]
    name = next((name for name, form in FORMS.items() if form.model_type == family.model_type), None)
    what = None
    if name is None:
        what = f"the family {family.model_type}"
    elif name == "gemma3":
        what = _not_gemma(spec)
    elif any(attention.window for attention in blocks):
        what = "windows"
    elif name == "smollm3" and any((a.rotary is None) != ((i + 1) % _NOPE_EVERY == 0) for i, a in enumerate(blocks)):
        what = f"a SmolLM3 whose layers without positions are not every {_NOPE_EVERY}th"
    elif name != "llama" and any(a.rotary and a.rotary.scaling == "llama3" for a in blocks):
        what = f"Llama 3's rotary scaling in the family {family.model_type}"
    if name is None or what is not None:
        raise ModelFileError(f"{what} cannot be written as GGUF", where=where, hint="known: " + ", ".join(FORMS))
    return name, FORMS[name]


def _not_gemma(spec: ModelSpec) -> str | None:
    """What of ``spec`` llama.cpp does not compute as it is said."""
    blocks = [block.attention for block in spec.stack.blocks]
    full = [attention.window is None for attention in blocks]
    if full != [(i + 1) % _FULL_EVERY == 0 for i in range(len(blocks))]:
        return f"a Gemma 3 that does not see everything in every {_FULL_EVERY}th layer alone"
    first, width = blocks[0], spec.stack.embeddings.width
    scale = (width // first.heads if len(blocks) == _GEMMA_27B else first.head_dim) ** -0.5
    if first.scale is None or not math.isclose(first.scale, scale, rel_tol=1e-6):
        return "a Gemma 3 with a scale of its own"
    if any(a.rotary is None or a.rotary.scaling == "llama3" for a in blocks):
        return "a Gemma 3 with Llama 3's rotary scaling"
    if first.window is not None and first.rotary is not None and first.rotary.scaling != "none":
        return "a Gemma 3 with scaled positions in its windows"
    return None


def interleaved(values: Tensor, heads: int) -> Tensor:
    """Rows (heads · 2 · half) from halves to interleaved pairs; of a matrix (rows, D) or a bias (rows,)."""
    half = values.shape[0] // heads // 2
    return values.reshape(heads, 2, half, -1).transpose(1, 2).reshape(values.shape)


def halves(values: Tensor, heads: int, where: str) -> Tensor:
    """The inverse of ``interleaved``."""
    if values.shape[0] % (2 * heads):
        raise ModelFileError(f"{values.shape[0]} rows cannot be shared out over {heads} heads", where=where)
    half = values.shape[0] // heads // 2
    return values.view(heads, half, 2, -1).transpose(1, 2).reshape(values.shape)


def whole_norm(name: str, values: Tensor, by: float) -> Tensor:
    """A norm's weights with ``by`` added; other tensors as they are."""
    return values + torch.tensor(by) if name.endswith("norm.weight") else values
