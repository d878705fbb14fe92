from __future__ import annotations

import math

import pytest
import torch

from lamina.model.architectures.gpt import gpt2, llama
from lamina.model.checkpoint import open_model
from lamina.model.layers.cache import KeyValueCache
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 97, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_logits_equal_transformers(reference, variant):
    folder, theirs = reference(variant)
    ours = open_model(folder)
    ids = tokens(3, 21)
    torch.testing.assert_close(ours.logits(ours(ids)), theirs(input_ids=ids).logits, **TOLERANCE)


@torch.no_grad()
def test_right_padding_equals_transformers(reference, variant):
    folder, theirs = reference(variant)
    ours = open_model(folder)
    ids, lengths = tokens(3, 12), torch.tensor([12, 7, 1])
    segments = (torch.arange(12) < lengths[:, None]).long()
    got = ours.logits(ours(ids, segments=segments))
    wanted = theirs(input_ids=ids, attention_mask=segments).logits
    torch.testing.assert_close(got[segments == 1], wanted[segments == 1], **TOLERANCE)


@torch.no_grad()
def test_left_padding_equals_transformers(reference, variant):
    folder, theirs = reference(variant)
    ours = open_model(folder)
    ids, lengths = tokens(3, 12), torch.tensor([12, 7, 1])
    segments = (torch.arange(12) >= 12 - lengths[:, None]).long()
    positions = (segments.cumsum(-1) - 1).clamp(min=0)
    got = ours.logits(ours(ids, segments=segments, positions=positions))
    wanted = theirs(input_ids=ids, attention_mask=segments, position_ids=positions).logits
    torch.testing.assert_close(got[segments == 1], wanted[segments == 1], **TOLERANCE)


@torch.no_grad()
def test_bfloat16_says_nearly_what_transformers_says_in_float32(reference, variant):
    folder, theirs = reference(variant)
    ours = open_model(folder, dtype=torch.bfloat16)
    ids = tokens(3, 21)
    got, wanted = ours.logits(ours(ids)).float().log_softmax(-1), theirs(input_ids=ids).logits.log_softmax(-1)
    assert (wanted.exp() * (wanted - got)).sum(-1).mean() < 1e-3


@torch.no_grad()
def test_packed_documents_equal_separate_ones(reference, variant):
    folder, theirs = reference(variant)
    ours = open_model(folder)
    parts = [tokens(1, n, seed=n) for n in (5, 9, 4)]
    row = torch.cat([*parts, tokens(1, 3)], dim=1)
    segments = torch.tensor([[1] * 5 + [2] * 9 + [3] * 4 + [0] * 3])
    got = ours.logits(ours(row, segments=segments))[0, :18].split([5, 9, 4])
    for mine, part in zip(got, parts, strict=True):
        torch.testing.assert_close(mine, theirs(input_ids=part).logits[0], **TOLERANCE)


@torch.no_grad()
def test_cached_equals_uncached(reference, variant):
    folder, theirs = reference(variant)
    ours, cache, ids = open_model(folder), KeyValueCache(), tokens(2, 14)
    pieces, start = [], 0
    for length in (6, 1, 1, 4, 2):
        pieces.append(ours(ids[:, start : start + length], cache=cache))
        start += length
    torch.testing.assert_close(ours.logits(torch.cat(pieces, dim=1)), theirs(input_ids=ids).logits, **TOLERANCE)


@pytest.mark.parametrize(
    "spec",
    [
        llama(vocabulary=97, width=32, layers=2, heads=4, kv_heads=2, inner=48, max_positions=64),
        gpt2(vocabulary=97, width=32, layers=2, heads=4, max_positions=64),
    ],
    ids=["llama", "gpt2"],
)
def test_no_gradient_reaches_other_documents_or_the_future(spec: ModelSpec):
    torch.manual_seed(0)
    model = Transformer(spec)
    rows: list[torch.Tensor] = []
    model.stack.embeddings.register_forward_hook(lambda _m, _i, out: rows.append(out) or out.retain_grad())
    segments = torch.tensor([[1] * 6 + [2] * 7 + [3] * 5 + [0] * 2])
    hidden = model(tokens(1, 20), segments=segments)
    place = 9  # the fourth token of document 2
    model.logits(hidden[0, place]).square().sum().backward()
    assert rows[0].grad is not None
    reached = rows[0].grad[0].abs().sum(-1)
    assert torch.all(reached[6 : place + 1] > 0)
    assert torch.all(reached[:6] == 0)
    assert torch.all(reached[place + 1 :] == 0)


def test_a_tied_head_is_the_embedding():
    model = Transformer(llama(vocabulary=31, width=16, layers=1, heads=2, tied=True))
    assert model.head.weight is model.stack.embeddings.token.weight
    untied = Transformer(llama(vocabulary=31, width=16, layers=1, heads=2, tied=False))
    assert untied.head.weight is not untied.stack.embeddings.token.weight
    assert untied.parameter_count == model.parameter_count + 31 * 16


def test_fresh_weights_follow_the_seed_and_start_near_uniform():
    spec = llama(vocabulary=211, width=64, layers=2, heads=4)
    torch.manual_seed(3)
    one = Transformer(spec)
    torch.manual_seed(3)
    two = Transformer(spec)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    ids, targets = torch.randint(0, 211, (2, 4, 32))
    loss = torch.nn.functional.cross_entropy(one.logits(one(ids)).flatten(0, 1), targets.flatten())
    assert abs(loss.item() - math.log(211)) < 0.3
