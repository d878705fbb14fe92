"""DPO and KTO against their formulas, and the reference's log-probabilities, kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina.contracts.tokens import IGNORED, Batch
from lamina.kit.errors import InputError
from lamina.kit.log import MetricsWriter
from lamina.kit.progress import open_progress
from lamina.model.architectures.gpt import llama
from lamina.model.lora import add_lora
from lamina.model.spec import HeadSpec
from lamina.model.train import TrainParameters, TrainResult, preferences, train
from lamina.model.train.objectives import batch_loss
from lamina.model.train.preferences import (
    ReferenceLogs,
    answer_log_probabilities,
    divergence,
    dpo_loss,
    kto_loss,
    weights_digest,
)
from lamina.model.transformer import Transformer

BITS = st.lists(st.floats(-40, 0), min_size=2, max_size=8).filter(lambda v: len(v) % 2 == 0)


def make(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(llama(vocabulary=41, width=16, layers=2, heads=2, max_positions=32))


def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 41, (4, 12), generator=draws)
    targets = torch.full((4, 12), IGNORED)
    segments = torch.zeros((4, 12), dtype=torch.int64)
    for row, (start, end) in enumerate([(3, 9), (0, 4), (10, 11), (5, 11)]):
        targets[row, start:end] = ids[row, start + 1 : end + 1]
        segments[row, : end + 1] = 1
    return ids, targets, segments


def plain(model: Transformer) -> torch.Tensor:
    ids, targets, segments = rows()
    logs = model.logits(model(ids, segments=segments)).log_softmax(-1)
    picked = logs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return torch.where(targets == IGNORED, 0.0, picked).sum(1)


@pytest.mark.parametrize("chunk", [1 << 24, 41 * 3])
def test_log_probabilities_and_gradients_are_those_of_the_whole_matrix(monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(preferences, "_CHUNK_ELEMENTS", chunk)
    model = make()
    weights = torch.tensor([0.5, -1.0, 2.0, 0.1])
    got = answer_log_probabilities(model, *rows())
    (got * weights).sum().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    wanted = plain(model)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    (wanted * weights).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_a_heads_bias_counts() -> None:
    model = make()
    spec = replace(model.spec, head=HeadSpec(tied=False, bias=True))
    model = Transformer(spec)
    torch.nn.init.normal_(model.head.bias)
    torch.testing.assert_close(answer_log_probabilities(model, *rows()), plain(model), rtol=1e-5, atol=1e-5)


def test_an_adapted_head_counts(monkeypatch) -> None:
    model = make()
    add_lora(model, rank=2, alpha=4.0, targets=("head", "q"))
    torch.nn.init.normal_(model.head.lora_up)
    torch.testing.assert_close(answer_log_probabilities(model, *rows()), plain(model), rtol=1e-5, atol=1e-5)


@given(BITS, st.floats(0.01, 1.0), st.floats(0.0, 0.4))
def test_dpo_is_its_formula(values: list[float], beta: float, smoothing: float) -> None:
    policy = torch.tensor(values, dtype=torch.float64)
    reference = torch.tensor(values[::-1], dtype=torch.float64)
    got = dpo_loss(policy, reference, beta=beta, smoothing=smoothing)
    total = 0.0
    for i in range(0, len(values), 2):
        margin = beta * ((policy[i] - reference[i]) - (policy[i + 1] - reference[i + 1]))
        total += -(1 - smoothing) * math.log(1 / (1 + math.exp(-margin)))
        total += -smoothing * math.log(1 / (1 + math.exp(margin)))
    assert math.isclose(float(got.loss), total, rel_tol=1e-6, abs_tol=1e-9)
    assert got.count == len(values) // 2


def test_at_the_start_dpo_is_the_log_of_two_and_pulls_apart() -> None:
    policy = torch.tensor([-5.0, -3.0], requires_grad=True)
    found = dpo_loss(policy, policy.detach(), beta=0.5)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(math.log(2))
    assert policy.grad[0] == pytest.approx(-0.25)
    assert policy.grad[1] == pytest.approx(0.25)
    with pytest.raises(InputError, match="pairs"):
        dpo_loss(torch.zeros(3), torch.zeros(3))


def test_kto_is_its_formula() -> None:
    policy, reference = torch.tensor([-4.0, -6.0, -2.0]), torch.tensor([-5.0, -5.0, -5.0])
    wanted, baseline = torch.tensor([True, False, False]), torch.tensor(0.5)
    got = kto_loss(policy, reference, wanted, baseline, beta=0.2, weights=(1.0, 1.5))

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    expected = (
        (1 - sigmoid(0.2 * (1 - 0.5))) + 1.5 * (1 - sigmoid(0.2 * (0.5 + 1))) + 1.5 * (1 - sigmoid(0.2 * (0.5 - 3)))
    )
    assert float(got.loss) == pytest.approx(expected)
    assert (got.count, got.right) == (3, 2)
    assert float(divergence(policy, reference)) == pytest.approx(1.0)
    assert float(divergence(reference, policy)) == 0.0


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_a_model_learns_what_is_preferred(kind: str) -> None:
    model = make()
    ids, targets, segments = rows()
    with torch.no_grad():
        reference = answer_log_probabilities(model, ids, targets, segments)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    wanted = torch.tensor([True, False, True, False])
    for _ in range(30):
        policy = answer_log_probabilities(model, ids, targets, segments)
        found = (
            dpo_loss(policy, reference, beta=0.5)
            if kind == "dpo"
            else kto_loss(policy, reference, wanted, torch.tensor(0.0), beta=0.5)
        )
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
    assert found.right == found.count
    with torch.no_grad():
        gains = answer_log_probabilities(model, ids, targets, segments) - reference
    assert gains[0] > gains[1]
    assert gains[2] > gains[3]


def test_the_references_numbers_are_kept_and_missed_on_any_change(tmp_path: Path) -> None:
    model, logs = make(), ReferenceLogs(tmp_path / "references")
    calls = []

    def compute() -> list[float]:
        calls.append(1)
        with torch.no_grad():
            return answer_log_probabilities(model, *rows()).tolist()

    first = logs.get(model, "rows-1", compute)
    assert np.array_equal(logs.get(model, "rows-1", compute), first)
    assert ReferenceLogs(tmp_path / "references").get(model, "rows-1", compute).tobytes() == first.tobytes()
    assert len(calls) == 1
    logs.get(model, "rows-2", compute)
    before = weights_digest(model)
    with torch.no_grad():
        model.stack.blocks[1].feedforward.up.weight[3, 2].add_(1e-7)
    assert weights_digest(model) != before
    logs.get(model, "rows-1", compute)
    assert len(calls) == 3
    with pytest.raises(InputError, match="finite"):
        logs.get(model, "rows-3", lambda: [float("nan")])


class Judged:
    """A stream of answers: even numbers are preferred to odd ones."""

    def __init__(self, references: list[float], kind: str, stop_at: int | None = None) -> None:
        self.references, self.kind, self.drawn, self.stop_at = references, kind, 0, stop_at

    def __next__(self) -> Batch:
        if self.drawn == self.stop_at:
            raise KeyboardInterrupt
        self.drawn += 1
        ids, targets, segments = (tensor.numpy() for tensor in rows())
        positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
        labels = None if self.kind == "dpo" else np.array([1, 0, IGNORED, 0])
        return Batch(
            inputs=ids, targets=targets, segments=segments, positions=positions, labels=labels,
            references=np.array(self.references),
        )  # fmt: skip

    def state(self) -> dict[str, int]:
        return {"drawn": self.drawn}

    def restore(self, state: Any) -> None:
        self.drawn = state["drawn"]


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_a_run_prefers_and_resumes_to_the_bit(tmp_path: Path, kind: str) -> None:
    with torch.no_grad():
        references = answer_log_probabilities(make(), *rows()).tolist()

    def run(model: Transformer, work: Path, stop_at: int | None = None) -> TrainResult:
        return train(
            model,
            Judged(references, kind, stop_at),
            parameters=TrainParameters(
                steps=20, precision="float32", learning_rate=3e-3, checkpoint_steps=4, checkpoint_s=None, beta=0.5
            ),
            work=work,
            progress=open_progress("quiet"),
            metrics=MetricsWriter(work / "metrics.jsonl"),
        )

    whole, broken, resumed = make(), make(), make()
    run(whole, tmp_path / "whole")
    with torch.no_grad():
        gains = answer_log_probabilities(whole, *rows()) - torch.tensor(references)
    assert gains[0] > gains[1] + 1
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken", stop_at=11)
    run(resumed, tmp_path / "broken")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_reference_that_is_no_number_is_refused() -> None:
    batch = next(Judged([0.0, math.nan, 0.0, 0.0], "dpo"))
    with pytest.raises(InputError, match="finite"):
        batch_loss(make(), batch, torch.device("cpu"))
