from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lamina.contracts.tokens import IGNORED
from lamina.model.train import loss as loss_module
from lamina.model.train.loss import chunked_cross_entropy


@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("chunk", [1, 40, 300, 1 << 24])
def test_equals_cross_entropy_forward_and_backward(monkeypatch, rows: int, chunk: int):
    monkeypatch.setattr(loss_module, "_CHUNK_ELEMENTS", chunk)
    torch.manual_seed(0)
    hidden, weight = torch.randn(rows, 12), torch.randn(37, 12) * 3
    targets = torch.randint(0, 37, (rows,))
    h1, w1 = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    h2, w2 = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    ours = chunked_cross_entropy(h1, w1, targets)
    theirs = F.cross_entropy(h2 @ w2.T, targets, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    (ours / rows).backward()
    (theirs / rows).backward()
    torch.testing.assert_close(h1.grad, h2.grad)
    torch.testing.assert_close(w1.grad, w2.grad, rtol=1e-5, atol=1e-5)


def test_rows_without_a_target_add_nothing():
    torch.manual_seed(1)
    hidden, weight = torch.randn(6, 12), torch.randn(37, 12)
    targets = torch.tensor([4, IGNORED, 9, IGNORED, 36, 0])
    h1, h2 = (hidden.clone().requires_grad_() for _ in range(2))
    w1, w2 = (weight.clone().requires_grad_() for _ in range(2))
    chunked_cross_entropy(h1, w1, targets).backward()
    F.cross_entropy(h2 @ w2.T, targets, reduction="sum").backward()
    torch.testing.assert_close(h1.grad, h2.grad)
    torch.testing.assert_close(w1.grad, w2.grad, rtol=1e-5, atol=1e-5)
    assert not h1.grad[1].any()


def test_a_frozen_head_gets_no_gradient_and_hidden_states_do():
    hidden, weight = torch.randn(5, 4, requires_grad=True), torch.randn(9, 4)
    chunked_cross_entropy(hidden, weight, torch.arange(5)).backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_large_scores_do_not_overflow():
    hidden = torch.full((2, 1), 1000.0, requires_grad=True)
    loss = chunked_cross_entropy(hidden, torch.tensor([[1.0], [0.5]]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(500.0)
    loss.backward()
    assert torch.isfinite(hidden.grad).all()


def test_no_tokens_no_loss():
    hidden = torch.zeros(0, 4, requires_grad=True)
    loss = chunked_cross_entropy(hidden, torch.randn(9, 4), torch.zeros(0, dtype=torch.int64))
    assert loss.item() == 0.0


def test_bfloat16_autocast_stays_close():
    torch.manual_seed(0)
    hidden, weight = torch.randn(16, 32, requires_grad=True), torch.randn(50, 32, requires_grad=True)
    targets = torch.randint(0, 50, (16,))
    with torch.autocast("cpu", torch.bfloat16):
        loss = chunked_cross_entropy(hidden, weight, targets)
    loss.backward()
    exact = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(loss, exact, rtol=2e-2, atol=0)
    (wanted,) = torch.autograd.grad(exact, weight)
    assert (weight.grad - wanted).norm() < 0.03 * wanted.norm()
