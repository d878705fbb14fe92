"""RMSNorm's own gradient is that of its formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lamina.model.layers.norms import make_norm
from lamina.model.spec import NormSpec


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8), (1, 1, 8)])
@pytest.mark.parametrize("frozen", [False, True])
def test_rms_norm_has_torchs_values_and_gradients(shape: tuple[int, ...], frozen: bool) -> None:
    random = torch.Generator().manual_seed(0)
    norm = make_norm(NormSpec(kind="rms", eps=1e-2), 8)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(8, generator=random))
    norm.requires_grad_(not frozen)
    x, grad = torch.randn(shape, generator=random, requires_grad=True), torch.randn(shape, generator=random)
    out = norm(x)
    with torch.no_grad():
        assert torch.equal(out, norm(x)), "with and without a gradient the values are the same"
    wide, weight = x.detach().double().requires_grad_(), norm.weight.detach().double().requires_grad_()
    theirs = torch.autograd.grad(F.rms_norm(wide, (8,), weight, 1e-2), (wide, weight), grad.double())
    out.backward(grad)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), theirs[0], rtol=1e-5, atol=1e-6)
    if frozen:
        assert norm.weight.grad is None
    else:
        torch.testing.assert_close(norm.weight.grad.double(), theirs[1], rtol=1e-5, atol=1e-6)
