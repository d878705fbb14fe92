"""BERT (arXiv 1810.04805), bare (as in sentence-transformers), with its masked language model, or with a classifier.

Norms come after the residual sums; the activation is the exact GELU; the head is tied to the embedding and has a bias
of its own. Old files call the norms' weights gamma and beta.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from lamina.model.families.weights import Family, Fields, Rule, same
from lamina.model.spec import (
    Activation,
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    Output,
    OutputSpec,
    StackSpec,
)

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "relu": "relu",
    "silu": "silu",
}
#: What a class of transformers has beside the encoder: (a head, outputs).
_CLASSES: dict[str, tuple[bool, tuple[Output, ...]]] = {
    "BertForMaskedLM": (True, ()),
    "BertModel": (False, ("pooler",)),
    "BertForPreTraining": (True, ("pooler", "next-sentence")),
    "BertForNextSentencePrediction": (False, ("pooler", "next-sentence")),
    "BertForSequenceClassification": (False, ("pooler", "classify")),
    "BertForTokenClassification": (False, ("tag",)),
}

_OURS, _THEIRS = "encoder.blocks.{i}", "bert.encoder.layer.{i}"
_PARTS = {
    "attention.q": "attention.self.query",
    "attention.k": "attention.self.key",
    "attention.v": "attention.self.value",
    "attention.o": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feedforward.up": "intermediate.dense",
    "feedforward.down": "output.dense",
    "feedforward_norm": "output.LayerNorm",
}
_RULES: tuple[Rule, ...] = (
    same("encoder.embeddings.token.weight", "bert.embeddings.word_embeddings.weight"),
    same("encoder.embeddings.position.weight", "bert.embeddings.position_embeddings.weight"),
    same("encoder.embeddings.segment.weight", "bert.embeddings.token_type_embeddings.weight"),
    same("head.weight", "cls.predictions.decoder.weight"),
    same("head.bias", "cls.predictions.bias"),
    *(
        rule
        for kind in ("weight", "bias")
        for rule in (
            same(f"encoder.embeddings.norm.{kind}", f"bert.embeddings.LayerNorm.{kind}"),
            *(same(f"{_OURS}.{a}.{kind}", f"{_THEIRS}.{b}.{kind}") for a, b in _PARTS.items()),
            same(f"head.transform.dense.{kind}", f"cls.predictions.transform.dense.{kind}"),
            same(f"head.transform.norm.{kind}", f"cls.predictions.transform.LayerNorm.{kind}"),
            same(f"outputs.pooler.{kind}", f"bert.pooler.dense.{kind}"),
            same(f"outputs.next-sentence.{kind}", f"cls.seq_relationship.{kind}"),
            same(f"outputs.classify.{kind}", f"classifier.{kind}"),
            same(f"outputs.tag.{kind}", f"classifier.{kind}"),
        )
    ),
)


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a BERT ``config.json`` describes; ``architectures`` says which head and outputs."""
    fields = Fields(config, where)
    for key in ("is_decoder", "add_cross_attention"):
        if fields.flag(key, False):
            raise fields.refuse(key, "is not supported")
    kind = config.get("position_embedding_type") or "absolute"
    if kind != "absolute":
        raise fields.refuse("position_embedding_type", f"is {kind!r}; only 'absolute' is supported")
    (name,) = fields.words("architectures")[:1] or ["BertModel"]
    if name not in _CLASSES:
        raise fields.refuse("architectures", f"is {name!r}; known: {', '.join(_CLASSES)}")
    has_head, outputs = _CLASSES[name]
    width, heads = fields.whole("hidden_size", 768), fields.whole("num_attention_heads", 12)
    norm = NormSpec(kind="layer", eps=fields.number("layer_norm_eps", 1e-12))
    activation = fields.choice("hidden_act", "gelu", _ACTIVATIONS)
    block = BlockSpec(
        attention=AttentionSpec(heads=heads, kv_heads=heads, head_dim=width // max(heads, 1), bias=True, out_bias=True),
        feedforward=FeedForwardSpec(inner=fields.whole("intermediate_size", 3072), activation=activation, bias=True),
        norm=norm,
        placement="post",
    )
    embeddings = EmbeddingSpec(
        vocabulary=fields.whole("vocab_size", 30522),
        width=width,
        positions="learned",
        segments=fields.whole("type_vocab_size", 2),
        norm=norm,
    )
    if has_head and not fields.flag("tie_word_embeddings", True):
        raise fields.refuse("tie_word_embeddings", "false is not supported")
    labels = len(fields.table("id2label")) or fields.whole("num_labels", 2)
    return ModelSpec(
        encoder=StackSpec(
            embeddings=embeddings, blocks=(block,) * fields.whole("num_hidden_layers", 12), norm=None, causal=False
        ),
        head=HeadSpec(bias=True, transform=activation, norm=norm) if has_head else None,
        outputs=tuple(OutputSpec(kind=kind, labels=_labels(kind, labels)) for kind in outputs),
        max_positions=fields.whole("max_position_embeddings", 512),
        dropout=fields.number("hidden_dropout_prob", 0.1),
    )


def _labels(kind: str, labels: int) -> int:
    return labels if kind in ("classify", "tag") else 1


def settle(spec: ModelSpec, names: Collection[str]) -> ModelSpec:
    """With a pooler and next-sentence scores where the file has their tensors: files are often of more than their class
    says, and encoders for embeddings often lack the pooler."""
    there = {"pooler": any("pooler.dense" in n for n in names)}
    there["next-sentence"] = any("cls.seq_relationship" in n for n in names)
    kept = tuple(o for o in spec.outputs if there.get(o.kind, True))
    more = tuple(OutputSpec(kind=kind) for kind in ("pooler", "next-sentence") if there[kind])
    return replace(spec, outputs=(*(o for o in more if o not in kept), *kept))


def _architecture(spec: ModelSpec) -> str | None:
    """The class that holds most of what the model has."""
    kinds = {output.kind for output in spec.outputs}
    for name in ("BertForPreTraining", "BertForMaskedLM"):
        if spec.head is not None and set(_CLASSES[name][1]) <= kinds <= {"pooler", "next-sentence"}:
            return name
    for name in ("BertForSequenceClassification", "BertForTokenClassification", "BertForNextSentencePrediction"):
        if spec.head is None and _CLASSES[name][1][-1] in kinds and len(kinds - {"pooler"}) == 1:
            return name
    return "BertModel" if spec.head is None and kinds <= {"pooler"} else None


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where BERT cannot express it."""
    stack, name = spec.encoder, _architecture(spec)
    if stack is None or spec.decoder is not None or name is None or stack.causal or stack.relative or stack.norm:
        return None
    block, embeddings = stack.blocks[0], stack.embeddings
    attention, feedforward, norm = block.attention, block.feedforward, block.norm
    heads, head_dim = attention.heads, attention.head_dim
    usual = (
        all(other == block for other in stack.blocks)
        and block.placement == "post"
        and norm.kind == "layer"
        and attention == AttentionSpec(heads=heads, kv_heads=heads, head_dim=head_dim, bias=True, out_bias=True)
        and attention.heads * attention.head_dim == embeddings.width
        and feedforward.bias
        and not feedforward.gated
        and feedforward.activation in _ACTIVATIONS.values()
        and embeddings.norm == norm
        and (embeddings.positions, embeddings.scale) == ("learned", 1.0)
        and embeddings.segments > 0
    )
    head = HeadSpec(bias=True, transform=feedforward.activation, norm=norm)
    if not usual or (spec.head is not None and spec.head != head):
        return None
    config: dict[str, Any] = {
        "model_type": "bert",
        "architectures": [name],
        "vocab_size": embeddings.vocabulary,
        "hidden_size": embeddings.width,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": attention.heads,
        "intermediate_size": feedforward.inner,
        "hidden_act": next(n for n, ours in _ACTIVATIONS.items() if ours == feedforward.activation),
        "hidden_dropout_prob": spec.dropout,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": spec.max_positions,
        "type_vocab_size": embeddings.segments,
        "layer_norm_eps": norm.eps,
        "tie_word_embeddings": True,
    }
    labels = next((o.labels for o in spec.outputs if o.kind in ("classify", "tag")), None)
    if labels is not None:
        config["id2label"] = {str(n): f"LABEL_{n}" for n in range(labels)}
        config["label2id"] = {f"LABEL_{n}": n for n in range(labels)}
    return config


FAMILY = Family(
    model_type="bert",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=_RULES,
    prefix="bert.",
    settle=settle,
    bare=True,
    ignored=(r"bert\.embeddings\.position_ids", r"cls\.predictions\.decoder\.bias"),
    renamed=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
)
