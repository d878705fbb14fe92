"""Quantised weights looked at in their file: the same numbers, neighbours joined without a copy."""

from __future__ import annotations

import pytest
import torch

from lamina.deployment.compress.int8 import joined
from lamina.deployment.compress.quantize import open_served
from lamina.model.checkpoint import read_tensors


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_lent_tensors_are_the_file_s(model_folder, quantize) -> None:
    folder = model_folder(1, quantize=quantize)
    own, lent = read_tensors(folder), read_tensors(folder, lent=True)
    assert own.keys() == lent.keys()
    for name, tensor in own.items():
        assert lent[name].dtype == tensor.dtype
        assert torch.equal(lent[name], tensor)
    mapped = {name: t.untyped_storage().data_ptr() for name, t in lent.items() if not t.is_floating_point()}
    assert len(mapped) > 4
    assert len(set(mapped.values())) == 1


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_a_model_of_lent_weights_keeps_nothing_of_the_file_but_its_blocks(model_folder, quantize) -> None:
    folder = model_folder(1, quantize=quantize)
    own, lent = open_served(folder), open_served(folder, lent=True)
    ids = torch.tensor([[1, 5, 7, 2]])
    assert torch.equal(own.logits(own(ids)), lent.logits(lent(ids)))
    gate = lent.stack.blocks[0].feedforward.gate.weight.untyped_storage().data_ptr()
    for kept in (lent.stack.embeddings.token.weight, lent.head.weight, lent.stack.norm.weight):
        assert kept.untyped_storage().data_ptr() != gate


def test_neighbours_are_joined_where_they_lie() -> None:
    whole = torch.arange(60, dtype=torch.int8).view(10, 6)
    found = joined([whole[1:4], whole[4:5], whole[5:9]])
    assert torch.equal(found, whole[1:9])
    assert found.data_ptr() == whole[1].data_ptr()


@pytest.mark.parametrize("apart", ["a gap", "the other way round", "another storage", "columns"])
def test_others_are_copied(apart) -> None:
    whole = torch.arange(60, dtype=torch.int8).view(10, 6)
    parts = {
        "a gap": [whole[0:2], whole[3:5]],
        "the other way round": [whole[3:5], whole[0:3]],
        "another storage": [whole[0:2], whole[2:4].clone()],
        "columns": [whole[0:2, :3], whole[2:4, :3]],
    }[apart]
    found = joined(parts)
    assert torch.equal(found, torch.cat(parts))
    assert found.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr()
