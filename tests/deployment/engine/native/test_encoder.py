"""Hidden states of the native library's encoder are the model's, at every level of this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lamina.deployment.compress.int8 import Int8Linear, quantize_rows
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native import encoder as module
from lamina.deployment.engine.native.encoder import NativeEncoder, open_native_encoder
from lamina.kit.errors import LaminaError
from lamina.model.architectures.bert import bert
from lamina.model.architectures.seq2seq import t5
from lamina.model.spec import (
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    ModelSpec,
    NormSpec,
    RotarySpec,
    StackSpec,
)
from lamina.model.transformer import Transformer

pytestmark = pytest.mark.skipif(native.open_library() is None, reason=f"native kernels: {native.describe()}")
HERE = range(native.best_level(-1) + 1)
CONTEXT, VOCABULARY = 600, 89
LENGTHS = (1, 21, 17, 2, 540, 16, 33)


def spec_of(
    *,
    width: int,
    placement: Any = "post",
    norm: str = "layer",
    embedding_norm: bool = True,
    rotary: bool = False,
    bias: bool = True,
    attention: dict[str, Any] | None = None,
    feedforward: dict[str, Any] | None = None,
) -> ModelSpec:
    """An encoder of two layers and of any width."""
    norms = NormSpec(kind=norm, eps=1e-6)  # type: ignore[arg-type]
    heads = {"heads": 3, "kv_heads": 3, "head_dim": 16} | (attention or {})
    turned = RotarySpec() if rotary else None
    inner = {"inner": 70, "activation": "gelu"} | (feedforward or {})
    block = BlockSpec(
        attention=AttentionSpec(**heads, bias=bias, out_bias=bias, rotary=turned),
        feedforward=FeedForwardSpec(**inner, bias=bias),
        norm=norms,
        placement=placement,
    )
    positions = "none" if rotary else "learned"
    embeddings = EmbeddingSpec(
        vocabulary=VOCABULARY,
        width=width,
        positions=positions,
        segments=2,
        norm=norms if embedding_norm else None,
    )
    last = norms if placement == "pre" else None
    stack = StackSpec(embeddings=embeddings, blocks=(block,) * 2, norm=last, causal=False)
    return ModelSpec(encoder=stack, max_positions=CONTEXT)


SPECS = {
    "bert": replace(bert(vocabulary=VOCABULARY, width=96, layers=3, heads=3, max_positions=CONTEXT), head=None),
    "odd widths": spec_of(width=52),
    "no norm of embeddings": spec_of(width=48, embedding_norm=False, feedforward={"activation": "silu"}),
    "before the parts": spec_of(width=50, placement="pre", embedding_norm=False, feedforward={"activation": "relu"}),
    "shared keys, gated, rotary": spec_of(
        width=64,
        placement="pre",
        norm="rms",
        rotary=True,
        bias=False,
        attention={"heads": 6, "kv_heads": 2, "head_dim": 32, "qk_norm": NormSpec(kind="rms", eps=1e-6)},
        feedforward={"activation": "gelu-tanh", "gated": True},
    ),
}


def made(spec: ModelSpec) -> Transformer:
    """A model with wide weights that int8 holds exactly (as well as its scales do)."""
    torch.manual_seed(0)
    model = Transformer(spec).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter += 0.1 * torch.randn(parameter.shape)
        else:
            parameter *= 6
            if "blocks" in name:
                steps, scale = quantize_rows(parameter)
                parameter.copy_(steps * scale.float()[:, None])
    return model


def texts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator).tolist() for length in LENGTHS]


def opened(model: Transformer) -> NativeEncoder:
    found = open_native_encoder(model.stack, context=CONTEXT, rounded=Int8Linear.of)
    assert found is not None
    return found


@pytest.mark.parametrize("level", HERE, ids=lambda level: native.LEVELS[level])
@pytest.mark.parametrize("name", SPECS)
def test_hidden_states_are_those_of_the_model(name: str, level: int, monkeypatch) -> None:
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", native.LEVELS[level])
    model = made(SPECS[name])
    encoder = opened(model)
    for row, states in zip(texts(), encoder(texts()), strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([row]))[0]
        torch.testing.assert_close(states, expected, rtol=0, atol=2e-3)
    encoder.close()


@pytest.mark.parametrize("level", HERE, ids=lambda level: native.LEVELS[level])
@pytest.mark.parametrize("name", ["odd widths", "shared keys, gated, rotary"])
def test_a_text_does_not_depend_on_those_beside_it_or_on_threads(name: str, level: int, monkeypatch) -> None:
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", native.LEVELS[level])
    encoder = opened(made(SPECS[name]))
    encoder.use_threads(1)
    together = encoder(texts())
    encoder.use_threads(3)
    for order in (range(len(LENGTHS)), reversed(range(len(LENGTHS)))):
        for number in order:
            assert torch.equal(encoder([texts()[number]])[0], together[number])
    assert all(map(torch.equal, encoder(texts()[::-1]), together[::-1]))
    encoder.close()


def test_many_texts_are_computed_some_at_a_time(monkeypatch) -> None:
    encoder = opened(made(SPECS["odd widths"]))
    whole, calls = encoder(texts() * 3), []
    monkeypatch.setattr(encoder, "_encode", lambda rows: calls.append(sum(map(len, rows))) or encoded(rows))
    encoded = NativeEncoder._encode.__get__(encoder)
    monkeypatch.setattr(module, "_ROWS", 40)
    assert all(map(torch.equal, encoder(texts() * 3), whole))
    assert sum(calls) == 3 * sum(LENGTHS)
    assert {count for count in calls if count > 40} == {540}, "a long text is a call of its own"
    assert len(calls) < 3 * len(LENGTHS)
    assert encoder([]) == []


def test_what_cannot_be_encoded_is_refused() -> None:
    encoder = opened(made(SPECS["odd widths"]))
    with pytest.raises(LaminaError, match="text 1 has 0 tokens, not 1 to 600"):
        encoder([[3], []])
    with pytest.raises(LaminaError, match="text 0 has 601 tokens"):
        encoder([[3] * 601])
    with pytest.raises(IndexError):
        encoder([[VOCABULARY]])


def test_the_models_weights_are_rounded_to_int8() -> None:
    model = made(SPECS["bert"])
    for name, parameter in model.named_parameters():
        if "blocks" in name and parameter.dim() == 2:
            parameter += 0.02 * torch.randn(parameter.shape)
    row = texts()[1]
    with torch.inference_mode():
        expected = model(torch.tensor([row]))[0]
    states = opened(model)([row])[0]
    assert 1e-3 < float((states - expected).norm() / expected.norm()) < 0.03


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(width=48, attention={"head_dim": 24}),
        spec_of(width=48, attention={"window": 5}),
        spec_of(width=48, attention={"scale": 1.0}),
        spec_of(width=48, placement="sandwich"),
        replace(t5(vocabulary=VOCABULARY, width=64, layers=1, heads=4)),
    ],
    ids=["heads of 24", "a window", "a scale", "norms on both sides", "relative positions"],
)
def test_other_shapes_are_left_to_torch(spec: ModelSpec) -> None:
    model = Transformer(spec)
    assert open_native_encoder(model.encoder, context=64, rounded=Int8Linear.of) is None
