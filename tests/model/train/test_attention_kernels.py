"""Training takes torch's fused attention; where it cannot, that is seen and said."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lamina.model.layers.kernels import attention_kernels
from lamina.model.train.objectives import batch_loss

_SPEC = importlib.util.spec_from_file_location("objectives_tests", Path(__file__).with_name("test_objectives.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
objectives: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(objectives)


@pytest.mark.parametrize("kind", ["causal", "masked", "classify", "seq2seq"])
def test_packed_training_takes_the_fused_kernel(kind: str) -> None:
    model = objectives.make(kind).train()
    with attention_kernels() as seen:
        batch_loss(model, objectives.rows(kind, 3), torch.device("cpu")).backward()
    blocks = [block for stack in (model.encoder, model.decoder) if stack is not None for block in stack.blocks]
    calls = sum(1 if block.cross is None else 2 for block in blocks)
    assert seen == {"flash": calls}


def test_learned_relative_positions_do_without_it() -> None:
    """A mask that needs a gradient leaves the plain way, as torch documents."""
    with attention_kernels() as seen:
        batch_loss(objectives.make("t5").train(), objectives.rows("t5", 3), torch.device("cpu")).backward()
    assert seen["math"] == 4  # self-attention of two layers on both sides
    assert seen["flash"] == 2  # attention to the source has no positions


def test_dropout_inside_the_attention_would_be_seen() -> None:
    q = torch.randn(1, 2, 8, 16, requires_grad=True)
    with attention_kernels() as seen:
        F.scaled_dot_product_attention(q, q, q, dropout_p=0.1)
        F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert seen == {"math": 1, "flash": 1}
