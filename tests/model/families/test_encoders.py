"""Encoders against `transformers`: BERT bare, with its masked language model, with outputs for texts and tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lamina.model.checkpoint import open_model
from lamina.model.transformer import Transformer

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 97, shape, generator=torch.Generator().manual_seed(seed))


def outputs(model: Transformer, hidden: torch.Tensor, segments: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """What `transformers` would call them."""
    found = {"last_hidden_state": hidden}
    if model.head is not None:
        found |= {"logits": model.logits(hidden), "prediction_logits": model.logits(hidden)}
    names = {"pooler": "pooler_output", "next-sentence": "seq_relationship_logits", "classify": "logits"}
    for kind in model.outputs:
        found[names.get(kind, "logits")] = model.output(kind, hidden, segments=segments)
    return found


def check(ours: dict[str, torch.Tensor], theirs: Any, real: torch.Tensor | None = None) -> None:
    compared = 0
    for name, value in theirs.items():
        if real is not None and value.dim() == 3:
            torch.testing.assert_close(ours[name][real], value[real], **TOLERANCE)
        else:
            torch.testing.assert_close(ours[name], value, **TOLERANCE)
        compared += 1
    assert compared


@torch.no_grad()
def test_outputs_equal_transformers(reference, encoder):
    folder, theirs = reference(encoder)
    ours, ids = open_model(folder), tokens(3, 21)
    kinds = (torch.arange(21) >= 9).long().expand(3, 21)
    check(outputs(ours, ours(ids)), theirs(input_ids=ids))
    check(outputs(ours, ours(ids, kinds=kinds)), theirs(input_ids=ids, token_type_ids=kinds))


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_equals_transformers(reference, encoder, side):
    folder, theirs = reference(encoder)
    ours, ids, lengths = open_model(folder), tokens(3, 12), torch.tensor([12, 7, 1])
    places = torch.arange(12) if side == "right" else torch.arange(12).flip(0)
    segments = (places < lengths[:, None]).long()
    positions = torch.arange(12).expand(3, 12)  # transformers counts padding as places
    hidden = ours(ids, segments=segments, positions=positions)
    got = outputs(ours, hidden, segments)
    wanted = theirs(input_ids=ids, attention_mask=segments)
    if side == "left":  # the first token is padding there: what stands on it means nothing
        got = {name: value for name, value in got.items() if value.dim() == 3}
        wanted = {name: value for name, value in wanted.items() if value.dim() == 3}
        if not wanted:
            return
    check(got, wanted, segments == 1)


@torch.no_grad()
def test_packed_documents_equal_separate_ones(reference):
    folder, theirs = reference("bert-mlm")
    ours = open_model(folder)
    parts = [tokens(1, n, seed=n) for n in (5, 9, 4)]
    row = torch.cat([*parts, tokens(1, 3)], dim=1)
    segments = torch.tensor([[1] * 5 + [2] * 9 + [3] * 4 + [0] * 3])
    got = ours.logits(ours(row, segments=segments))[0, :18].split([5, 9, 4])
    for mine, part in zip(got, parts, strict=True):
        torch.testing.assert_close(mine, theirs(input_ids=part).logits[0], **TOLERANCE)


def test_no_gradient_reaches_other_documents(reference):
    model = open_model(reference("bert-mlm")[0]).requires_grad_(True)
    rows: list[torch.Tensor] = []
    model.stack.embeddings.register_forward_hook(lambda _m, _i, out: rows.append(out) or out.retain_grad())
    segments = torch.tensor([[1] * 6 + [2] * 7 + [3] * 5 + [0] * 2])
    hidden = model(tokens(1, 20), segments=segments)
    model.logits(hidden[0, 9]).square().sum().backward()
    assert rows[0].grad is not None
    reached = rows[0].grad[0].abs().sum(-1)
    assert torch.all(reached[6:13] > 0)
    assert torch.all(reached[:6] == 0)
    assert torch.all(reached[13:] == 0)
