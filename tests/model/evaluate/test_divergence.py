"""Divergence of a model from its parent, against the formulas written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from lamina.kit.errors import ConfigError, InputError
from lamina.model.architectures.presets import preset
from lamina.model.evaluate.bits_per_byte import bits_per_byte
from lamina.model.evaluate.divergence import divergence
from lamina.model.transformer import Transformer

TEXTS = ["the whale rose", "a ship", "the men held their breath while it rose and the captain watched"]


class Letters:
    """A token a character; 0 ends a document."""

    end_ids = (0,)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[1 + ord(c) % 60 for c in text] for text in texts]


@pytest.fixture(scope="module")
def models() -> tuple[Transformer, Transformer]:
    """A random model, and one whose weights are a little off."""
    torch.manual_seed(0)
    parent = Transformer(preset("nano", vocabulary=64)).eval().requires_grad_(False)
    model = Transformer(parent.spec).eval().requires_grad_(False)
    for own, other in zip(model.parameters(), parent.parameters(), strict=True):
        other.mul_(4.0 if other.dim() == 2 else 1.0)
        own.copy_(other + 0.05 * torch.randn_like(other))
    return model, parent


@pytest.mark.parametrize("window", [2048, 16])
def test_each_figure_is_the_formulas(models: tuple[Transformer, Transformer], window: int) -> None:
    model, parent = models
    tokenizer: Any = Letters()
    found = divergence(model, parent, tokenizer, TEXTS, window=window, stride=window // 2)
    for value, other in ((found.bits_per_byte, model), (found.parent_bits_per_byte, parent)):
        expected = bits_per_byte(other, tokenizer, TEXTS, window=window, stride=window // 2)
        assert value == pytest.approx(expected.value, rel=1e-5)
        assert found.tokens == expected.tokens == sum(map(len, TEXTS))
    assert found.change == pytest.approx(found.bits_per_byte / found.parent_bits_per_byte - 1, rel=1e-4)
    nats = found.bits_per_byte * math.log(2) * sum(map(len, TEXTS))
    assert found.perplexity == pytest.approx(math.exp(nats / found.tokens))
    if window == 2048:
        kl, same = [], []
        for ids in tokenizer.encode_batch(TEXTS):
            rows = torch.tensor([[0, *ids[:-1]]])
            p, q = (torch.log_softmax(m.logits(m(rows))[0].double(), -1) for m in (parent, model))
            kl += (p.exp() * (p - q)).sum(-1).tolist()
            same += (p.argmax(-1) == q.argmax(-1)).tolist()
        assert found.kl == pytest.approx(sum(kl) / len(kl), rel=1e-3)
        assert found.agreement == pytest.approx(sum(same) / len(same))
        assert 0 < found.kl_error < found.kl


def test_a_model_is_no_way_from_itself(models: tuple[Transformer, Transformer]) -> None:
    found = divergence(models[1], models[1], Letters(), TEXTS)  # type: ignore[arg-type]
    assert (found.kl, found.agreement, found.change, found.change_error) == (0.0, 1.0, 0.0, 0.0)


def test_what_cannot_be_compared_is_refused(models: tuple[Transformer, Transformer]) -> None:
    other = Transformer(preset("nano", vocabulary=80)).eval()
    with pytest.raises(InputError, match="64 and 80 tokens"):
        divergence(other, models[1], Letters(), TEXTS)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no text"):
        divergence(models[0], models[1], Letters(), ["", ""])  # type: ignore[arg-type]
