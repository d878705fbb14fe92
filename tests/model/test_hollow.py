"""Models whose weights come from files are made without drawing any."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lamina.model.architectures.presets import preset
from lamina.model.layers.hollow import hollow
from lamina.model.transformer import Transformer


def test_shapes_and_no_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("drawn")

    spec = preset("tiny", vocabulary=64)
    with monkeypatch.context() as patch:
        for name in ("_no_grad_normal_", "_no_grad_uniform_", "_no_grad_fill_", "_no_grad_zero_"):
            patch.setattr(torch.nn.init, name, refuse)
        with pytest.raises(AssertionError, match="drawn"):
            nn.Linear(2, 2)
        state = torch.get_rng_state()
        with hollow():
            model = Transformer(spec)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.is_meta for parameter in model.parameters())
    drawn = Transformer(spec)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in drawn.named_parameters()}
    assert not any(parameter.is_meta for parameter in drawn.parameters())
