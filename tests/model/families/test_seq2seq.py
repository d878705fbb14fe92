"""Encoder-decoders against `transformers`: T5 and Marian."""

from __future__ import annotations

import pytest
import torch

from lamina.kit.errors import ConfigError
from lamina.model.checkpoint import open_model
from lamina.model.layers.cache import KeyValueCache

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 88, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_logits_equal_transformers(reference, seq2seq):
    folder, theirs = reference(seq2seq)
    ours, sources, ids = open_model(folder), tokens(3, 40), tokens(3, 33, seed=1)
    got = ours.logits(ours(ids, sources=sources))
    torch.testing.assert_close(got, theirs(input_ids=sources, decoder_input_ids=ids).logits, **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_sources_equal_transformers(reference, seq2seq, side):
    folder, theirs = reference(seq2seq)
    ours, sources, ids = open_model(folder), tokens(3, 12), tokens(3, 9, seed=1)
    places = torch.arange(12) if side == "right" else torch.arange(12).flip(0)
    segments = (places < torch.tensor([12, 7, 2])[:, None]).long()
    memory = ours.encoder(sources, segments=segments, positions=torch.arange(12).expand(3, 12))
    got = ours.logits(ours(ids, source=memory, source_segments=segments))
    wanted = theirs(input_ids=sources, attention_mask=segments, decoder_input_ids=ids).logits
    torch.testing.assert_close(got, wanted, **TOLERANCE)


@torch.no_grad()
def test_packed_pairs_equal_separate_ones(reference, seq2seq):
    folder, theirs = reference(seq2seq)
    ours = open_model(folder)
    pairs = [(tokens(1, n, seed=n), tokens(1, m, seed=10 + m)) for n, m in ((5, 3), (9, 6), (4, 7))]
    sources = torch.cat([*(pair[0] for pair in pairs), tokens(1, 2)], dim=1)
    ids = torch.cat([*(pair[1] for pair in pairs), tokens(1, 3)], dim=1)
    source_segments = torch.tensor([[1] * 5 + [2] * 9 + [3] * 4 + [0] * 2])
    segments = torch.tensor([[1] * 3 + [2] * 6 + [3] * 7 + [0] * 3])
    got = ours.logits(ours(ids, sources=sources, segments=segments, source_segments=source_segments))
    for mine, (source, target) in zip(got[0, :16].split([3, 6, 7]), pairs, strict=True):
        wanted = theirs(input_ids=source, decoder_input_ids=target).logits[0]
        torch.testing.assert_close(mine, wanted, **TOLERANCE)


@torch.no_grad()
def test_cached_equals_uncached(reference, seq2seq):
    folder, theirs = reference(seq2seq)
    ours, cache, sources, ids = open_model(folder), KeyValueCache(), tokens(2, 7), tokens(2, 14, seed=1)
    source, pieces, start = ours.encode(sources), [], 0
    for length in (6, 1, 1, 4, 2):
        pieces.append(ours(ids[:, start : start + length], source=source, cache=cache))
        start += length
    wanted = theirs(input_ids=sources, decoder_input_ids=ids).logits
    torch.testing.assert_close(ours.logits(torch.cat(pieces, dim=1)), wanted, **TOLERANCE)


def test_no_gradient_reaches_the_sources_of_other_documents(reference, seq2seq):
    model = open_model(reference(seq2seq)[0]).requires_grad_(True)
    rows: list[torch.Tensor] = []
    model.encoder.embeddings.register_forward_hook(lambda _m, _i, out: rows.append(out) or out.retain_grad())
    source_segments = torch.tensor([[1] * 6 + [2] * 7 + [0] * 2])
    segments = torch.tensor([[1] * 4 + [2] * 5 + [0]])
    hidden = model(tokens(1, 10), sources=tokens(1, 15), segments=segments, source_segments=source_segments)
    model.logits(hidden[0, 6]).square().sum().backward()
    assert rows[0].grad is not None
    reached = rows[0].grad[0].abs().sum(-1)
    assert torch.all(reached[6:13] > 0)
    assert torch.all(reached[:6] == 0)
    assert torch.all(reached[13:] == 0)


def test_a_decoder_beside_an_encoder_needs_sources(reference):
    model = open_model(reference("t5")[0])
    with pytest.raises(ConfigError, match="sources"):
        model(tokens(1, 4))
