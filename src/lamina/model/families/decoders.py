"""What Llama and its descendants write alike: names of tensors, rotary positions, and most of ``config.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from lamina.model.families.weights import Fields, Rule, same
from lamina.model.spec import (
    Activation,
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    OutputSpec,
    RotarySpec,
    StackSpec,
)

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu-tanh",
    "relu": "relu",
    "relu2": "relu2",
}
SCALINGS: dict[str, Literal["none", "linear", "llama3"]] = {"default": "none", "linear": "linear", "llama3": "llama3"}
_CLASSIFIER = "ForSequenceClassification"
FULL, SLIDING = "full_attention", "sliding_attention"

_PROJECTIONS = {
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.o": "self_attn.o_proj",
    "feedforward.gate": "mlp.gate_proj",
    "feedforward.up": "mlp.up_proj",
    "feedforward.down": "mlp.down_proj",
}
_OURS, _THEIRS = "decoder.blocks.{i}", "model.layers.{i}"
#: All tensors of these families but the norms around attention and feed-forward.
RULES: tuple[Rule, ...] = (
    same("decoder.embeddings.token.weight", "model.embed_tokens.weight"),
    *(
        same(f"{_OURS}.{ours}.{kind}", f"{_THEIRS}.{theirs}.{kind}")
        for ours, theirs in _PROJECTIONS.items()
        for kind in ("weight", "bias")
    ),
    same(f"{_OURS}.attention.q_norm.weight", f"{_THEIRS}.self_attn.q_norm.weight"),
    same(f"{_OURS}.attention.k_norm.weight", f"{_THEIRS}.self_attn.k_norm.weight"),
    same("decoder.norm.weight", "model.norm.weight"),
    same("head.weight", "lm_head.weight"),
    same("outputs.classify.weight", "score.weight"),
)
#: The norms before the two parts of a block.
PRE_NORMS: tuple[Rule, ...] = (
    same(f"{_OURS}.attention_norm.weight", f"{_THEIRS}.input_layernorm.weight"),
    same(f"{_OURS}.feedforward_norm.weight", f"{_THEIRS}.post_attention_layernorm.weight"),
)
#: Buffers that old files carry.
IGNORED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)


def rotary(fields: Fields, positions: int, theta: float = 10000.0) -> RotarySpec:
    """From ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling`` (transformers 4)."""
    table = dict(fields.table("rope_scaling")) | dict(fields.table("rope_parameters"))
    return rotary_of(table, fields, positions, fields.number("rope_theta", theta))


def rotary_of(table: dict[str, Any], fields: Fields, positions: int, theta: float) -> RotarySpec:
    """From one table of rotary parameters; ``theta`` where it has none."""
    inner = Fields(table, f"{fields.where}: rope_parameters")
    theta = inner.number("rope_theta", theta)
    if inner.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0)) != 1.0:
        raise fields.refuse("partial_rotary_factor", "other than 1 is not supported")
    key = "rope_type" if "rope_type" in table else "type"
    scaling = inner.choice(key, "default", SCALINGS)
    if scaling == "none":
        return RotarySpec(theta=theta)
    return RotarySpec(
        theta=theta,
        scaling=scaling,
        factor=inner.number("factor", 1.0),
        low=inner.number("low_freq_factor", 1.0),
        high=inner.number("high_freq_factor", 4.0),
        original_positions=inner.whole("original_max_position_embeddings", positions),
    )


def rope_parameters(rotary: RotarySpec) -> dict[str, Any]:
    """The inverse of ``rotary_of``."""
    rope_type = next(name for name, scaling in SCALINGS.items() if scaling == rotary.scaling)
    parameters: dict[str, Any] = {"rope_type": rope_type, "rope_theta": rotary.theta}
    if rotary.scaling != "none":
        parameters["factor"] = rotary.factor
    if rotary.scaling == "llama3":
        parameters["low_freq_factor"] = rotary.low
        parameters["high_freq_factor"] = rotary.high
        parameters["original_max_position_embeddings"] = rotary.original_positions
    return parameters


def plain_block(fields: Fields, *, positions: int, theta: float = 10000.0) -> BlockSpec:
    """Grouped attention with rotary positions, gated feed-forward, RMSNorm before each; no biases."""
    width, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    return BlockSpec(
        attention=AttentionSpec(
            heads=heads,
            kv_heads=fields.whole("num_key_value_heads", heads),
            head_dim=fields.whole("head_dim", width // max(heads, 1)),
            rotary=rotary(fields, positions, theta),
        ),
        feedforward=FeedForwardSpec(
            inner=fields.whole("intermediate_size"),
            activation=fields.choice("hidden_act", "silu", ACTIVATIONS),
            gated=True,
        ),
        norm=NormSpec(kind="rms", eps=fields.number("rms_norm_eps", 1e-6)),
    )


def with_bias(block: BlockSpec, *, qkv: bool, out: bool, feedforward: bool) -> BlockSpec:
    """``block`` with biases where it is said."""
    return replace(
        block,
        attention=replace(block.attention, bias=qkv, out_bias=out),
        feedforward=replace(block.feedforward, bias=feedforward),
    )


def windows(fields: Fields, layers: int, usual: Sequence[bool]) -> list[int | None]:
    """Each layer's window: by ``layer_types``, or where there is no such list by ``usual`` (True = it has one)."""
    window = fields.optional_whole("sliding_window")
    kinds = fields.words("layer_types") or [SLIDING if sliding else FULL for sliding in usual]
    if len(kinds) != layers or not set(kinds) <= {FULL, SLIDING}:
        raise fields.refuse("layer_types", f"must hold {layers} of {FULL} and {SLIDING}")
    if SLIDING in kinds and window is None:
        raise fields.refuse("sliding_window", "is missing, and layers ask for one")
    return [window if kind == SLIDING else None for kind in kinds]


def model_of(
    fields: Fields, blocks: Sequence[BlockSpec], *, positions: int, tied: bool, scale: float = 1.0
) -> ModelSpec:
    """The whole model over ``blocks``; its last norm is as theirs."""
    embeddings = EmbeddingSpec(vocabulary=fields.whole("vocab_size"), width=fields.whole("hidden_size"), scale=scale)
    name = (fields.words("architectures") or [""])[0]
    labels = len(fields.table("id2label")) or fields.whole("num_labels", 2)
    classifies = name.endswith(_CLASSIFIER)
    return ModelSpec(
        decoder=StackSpec(embeddings=embeddings, blocks=tuple(blocks), norm=blocks[0].norm, causal=True),
        head=None if classifies else HeadSpec(tied=fields.flag("tie_word_embeddings", tied)),
        outputs=_classify(labels) if classifies else (),
        max_positions=positions,
    )


def class_fields(spec: ModelSpec, stem: str) -> dict[str, Any]:
    """The class of transformers that ``spec`` is, of the family called ``stem``, and what it says of its labels."""
    if spec.head is not None:
        return {"architectures": [f"{stem}ForCausalLM"]}
    labels = spec.outputs[0].labels
    return {
        "architectures": [stem + _CLASSIFIER],
        "id2label": {str(n): f"LABEL_{n}" for n in range(labels)},
        "label2id": {f"LABEL_{n}": n for n in range(labels)},
    }


def _classify(labels: int) -> tuple[OutputSpec, ...]:
    return (OutputSpec(kind="classify", labels=labels, bias=False),)


def common(spec: ModelSpec, *, scale: float = 1.0) -> BlockSpec | None:
    """The first block of a plain decoder whose blocks are alike but for windows and rotary positions; else None."""
    stack, head = spec.decoder, spec.head
    writes = head is not None and not spec.outputs and head == HeadSpec(tied=head.tied)
    classifies = head is None and len(spec.outputs) == 1 and spec.outputs == _classify(spec.outputs[0].labels)
    if stack is None or spec.encoder is not None or not (writes or classifies):
        return None
    first, embeddings = stack.blocks[0], stack.embeddings
    usual = EmbeddingSpec(vocabulary=embeddings.vocabulary, width=embeddings.width, scale=scale)
    alike = all(
        replace(b, attention=_plain(b.attention)) == replace(first, attention=_plain(first.attention))
        for b in stack.blocks
    )
    known = first.feedforward.gated and first.feedforward.activation in ACTIVATIONS.values()
    plain = stack.causal and stack.relative is None and first.cross is None and first.norm == stack.norm
    return first if alike and known and plain and first.norm.kind == "rms" and embeddings == usual else None


def _plain(attention: AttentionSpec) -> AttentionSpec:
    return replace(attention, window=None, rotary=None)


def base_config(spec: ModelSpec, block: BlockSpec) -> dict[str, Any]:
    """What these families write alike; ``block`` from ``common``."""
    stack, head = spec.stack, spec.head or HeadSpec()
    attention = block.attention
    return {
        "vocab_size": stack.embeddings.vocabulary,
        "hidden_size": stack.embeddings.width,
        "intermediate_size": block.feedforward.inner,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_dim,
        "hidden_act": activation_name(block),
        "max_position_embeddings": spec.max_positions,
        "rms_norm_eps": block.norm.eps,
        "tie_word_embeddings": head.tied,
    }


def activation_name(block: BlockSpec) -> str:
    """The family's name of a block's activation."""
    return next(name for name, ours in ACTIVATIONS.items() if ours == block.feedforward.activation)


def rope_fields(rotary: RotarySpec) -> dict[str, Any]:
    """Rotary positions in the present form and in the older one."""
    parameters = rope_parameters(rotary)
    scaling = {k: v for k, v in parameters.items() if k != "rope_theta"} if rotary.scaling != "none" else None
    return {"rope_parameters": parameters, "rope_theta": rotary.theta, "rope_scaling": scaling}


def window_fields(spec: ModelSpec) -> dict[str, Any] | None:
    """``layer_types`` and ``sliding_window``; None where windows differ, which no family has."""
    found = [block.attention.window for block in spec.stack.blocks]
    sizes = {window for window in found if window is not None}
    if len(sizes) > 1:
        return None
    kinds = [FULL if window is None else SLIDING for window in found]
    return {"layer_types": kinds, "sliding_window": sizes.pop() if sizes else None}
