"""Muon beside AdamW, and the average of the weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lamina.kit.errors import ConfigError
from lamina.model.train import TrainParameters
from lamina.model.train.optimizers import Average, make_optimizer

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, VOCABULARY, make, run = counting.Texts, counting.VOCABULARY, counting.make, counting.run


def test_muon_moves_the_blocks_matrices_and_adamw_the_rest() -> None:
    weights = dict(make().named_parameters())
    optimizer = make_optimizer(weights, TrainParameters(steps=1, optimizer="muon"), torch.device("cpu"))
    for parameter in weights.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    for name, parameter in weights.items():
        muon = "momentum_buffer" in optimizer.state[parameter]
        assert muon == (parameter.ndim == 2 and ".blocks." in name), name
    assert len(optimizer.state) == len(weights)


def test_a_step_of_muon_is_an_orthogonal_one() -> None:
    """All singular values of the step are alike, whatever the gradient's are."""
    weight = nn.Parameter(torch.zeros(48, 16))
    parameters = TrainParameters(steps=1, optimizer="muon", weight_decay=0.0, learning_rate=1.0)
    optimizer = make_optimizer({"decoder.blocks.0.feedforward.up.weight": weight}, parameters, torch.device("cpu"))
    left, _ = torch.linalg.qr(torch.randn(48, 16))
    right, _ = torch.linalg.qr(torch.randn(16, 16))
    weight.grad = left @ torch.diag(torch.logspace(-1, 0, 16)) @ right
    optimizer.step()
    values = torch.linalg.svdvals(weight.detach())
    assert values.max() / values.min() < 2.0


def test_muon_learns_and_resumes_to_the_bit(tmp_path: Path) -> None:
    settings = {"optimizer": "muon", "average": 0.9, "checkpoint_steps": 3, "steps": 40}
    whole, broken, resumed = make(), make(), make()
    assert run(whole, tmp_path / "whole", **settings).loss < 1.0
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken", Texts(stop_at=20), **settings)
    run(resumed, tmp_path / "broken", **settings)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_run_ends_with_the_average(tmp_path: Path) -> None:
    plain, averaged = make(), make()
    run(plain, tmp_path / "plain", steps=1)
    begin = {name: p.clone() for name, p in averaged.named_parameters()}
    run(averaged, tmp_path / "averaged", steps=1, average=0.99)
    for (name, one), other in zip(plain.named_parameters(), averaged.parameters(), strict=True):
        torch.testing.assert_close(
            other, begin[name].lerp(one, 0.9), rtol=1e-5, atol=1e-6
        )  # (1 + 0) / (10 + 0) is kept


def test_the_average_forgets_by_its_decay() -> None:
    weight = nn.Parameter(torch.zeros(3))
    average = Average({"w": weight}, 0.5)
    expected = 0.0
    for step in range(100, 104):
        weight.data.fill_(float(step))
        average.update(step)
        expected = 0.5 * expected + 0.5 * step
    assert torch.allclose(average.values["w"], torch.full((3,), expected))
    average.put()
    assert torch.equal(weight.data, average.values["w"])


@pytest.mark.parametrize(("changes", "word"), [({"optimizer": "lion"}, "adamw, muon"), ({"average": 1.0}, "average")])
def test_what_cannot_be_set(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        TrainParameters(steps=1, **changes)
