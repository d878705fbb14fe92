"""Attention's own gradient is that of torch's attention, whatever the mask and the sharing of keys."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lamina.model.layers import attend as module
from lamina.model.layers.attend import attend, attention_gradient


def tensors(batch: int, heads: int, shared: int, length: int, keys: int, dtype: torch.dtype) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = ((batch, heads, length, 8), *((batch, heads // shared, keys, 8),) * 2, (batch, heads, length, 8))
    return [torch.randn(shape, generator=random).to(dtype) for shape in shapes]


def reference(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, allowed: Tensor | None, causal: bool) -> list[Tensor]:
    wide = [x.double().requires_grad_() for x in (q, k, v)]
    out = F.scaled_dot_product_attention(
        *wide, attn_mask=allowed, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1]
    )
    return list(torch.autograd.grad(out, wide, grad.double()))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    kv_heads=st.integers(1, 3),
    shared=st.integers(1, 3),
    length=st.integers(1, 9),
    kind=st.sampled_from(["none", "causal", "rows", "all"]),
    at_once=st.sampled_from([1, 200, 1 << 20]),
)
def test_the_gradient_is_that_of_torch(
    batch: int, kv_heads: int, shared: int, length: int, kind: str, at_once: int
) -> None:
    keys = length if kind == "causal" else length + 2
    q, k, v, grad = tensors(batch, kv_heads * shared, shared, length, keys, torch.float32)
    allowed = None
    if kind in ("rows", "all"):
        random = torch.Generator().manual_seed(1)
        allowed = torch.rand((batch if kind == "rows" else 1, 1, length, keys), generator=random) > 0.4
        allowed[..., 0] = True  # each query sees something
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK_ELEMENTS", at_once)
        found = attention_gradient(q, k, v, grad, allowed, kind == "causal", 8**-0.5)
    for ours, theirs in zip(found, reference(q, k, v, grad, allowed, kind == "causal"), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_bfloat16_on_a_processor_takes_it_and_says_the_same() -> None:
    q, k, v, grad = tensors(2, 4, 2, 12, 12, torch.bfloat16)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out = attend(*leaves, causal=True)
    assert type(out.grad_fn).__name__ == "_AttentionBackward"
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))
    out.backward(grad)
    for leaf, theirs in zip(leaves, reference(q, k, v, grad, None, True), strict=True):
        assert leaf.grad is not None
        assert (leaf.grad.double() - theirs).abs().max() < 0.02 * theirs.abs().max()


@pytest.mark.parametrize("case", ["float32", "no gradient", "scores are added to"])
def test_everything_else_is_torchs_own(case: str) -> None:
    q, k, v, _ = tensors(1, 2, 1, 4, 4, torch.float32 if case == "float32" else torch.bfloat16)
    if case != "no gradient":
        q.requires_grad_()
    bias = torch.zeros(1, 2, 4, 4, dtype=q.dtype) if case == "scores are added to" else None
    out = attend(q, k, v, allowed=bias)
    assert type(out.grad_fn).__name__ != "_AttentionBackward"


def test_the_compiler_sees_one_operator() -> None:
    q, k, v, grad = tensors(2, 4, 2, 6, 6, torch.float32)
    torch.library.opcheck(attention_gradient, (q, k, v, grad, None, True, 0.3), test_utils="test_schema")
    torch.library.opcheck(attention_gradient, (q, k, v, grad, None, True, 0.3), test_utils="test_faketensor")
