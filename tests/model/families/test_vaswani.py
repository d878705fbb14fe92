"""The transformer of "Attention is all you need" against torch's own."""

from __future__ import annotations

import math

import torch
from torch import nn

from lamina.model.architectures.seq2seq import vaswani
from lamina.model.layers.embeddings import place_vectors, sinusoids
from lamina.model.transformer import Transformer

WIDTH, HEADS, INNER = 32, 4, 48


def theirs_of(model: Transformer) -> nn.Transformer:
    """torch's, post-norm, with our weights; it has norms after the last layers, which the paper has not."""
    found = nn.Transformer(WIDTH, HEADS, 2, 2, INNER, dropout=0.0, batch_first=True).eval()
    found.encoder.norm = found.decoder.norm = None
    for stack, layers in ((model.encoder, found.encoder.layers), (model.decoder, found.decoder.layers)):
        for block, layer in zip(stack.blocks, layers, strict=True):
            _attention(block.attention, layer.self_attn)
            layer.norm1.load_state_dict(block.attention_norm.state_dict())
            if block.cross is not None:
                _attention(block.cross, layer.multihead_attn)
                layer.norm2.load_state_dict(block.cross_norm.state_dict())
            last = layer.norm2 if block.cross is None else layer.norm3
            last.load_state_dict(block.feedforward_norm.state_dict())
            layer.linear1.load_state_dict(block.feedforward.up.state_dict())
            layer.linear2.load_state_dict(block.feedforward.down.state_dict())
    return found


def _attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.k.weight, ours.v.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.k.bias, ours.v.bias]))
    theirs.out_proj.load_state_dict(ours.o.state_dict())


@torch.no_grad()
def test_hidden_states_equal_torch() -> None:
    torch.manual_seed(0)
    model = Transformer(vaswani(vocabulary=60, width=WIDTH, layers=2, heads=HEADS, inner=INNER)).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    sources, ids = torch.randint(0, 60, (3, 11)), torch.randint(0, 60, (3, 7))

    def embedded(some: torch.Tensor) -> torch.Tensor:
        vectors = model.encoder.embeddings.token(some) * math.sqrt(WIDTH)
        return vectors + _places(some.shape[1])

    mask = nn.Transformer.generate_square_subsequent_mask(7)
    wanted = theirs_of(model)(embedded(sources), embedded(ids), tgt_mask=mask)
    torch.testing.assert_close(model(ids, sources=sources), wanted, rtol=1e-5, atol=1e-5)


def _places(length: int) -> torch.Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(…), written out."""
    table = torch.zeros(length, WIDTH)
    for pos in range(length):
        for i in range(0, WIDTH, 2):
            table[pos, i] = math.sin(pos / 10000 ** (i / WIDTH))
            table[pos, i + 1] = math.cos(pos / 10000 ** (i / WIDTH))
    return table


def test_places_are_the_papers() -> None:
    got = place_vectors(torch.arange(20)[None], sinusoids(WIDTH), interleaved=True)[0]
    torch.testing.assert_close(got, _places(20), rtol=0, atol=1e-6)
    halves = place_vectors(torch.arange(20)[None], sinusoids(WIDTH), interleaved=False)[0]
    torch.testing.assert_close(halves[:, : WIDTH // 2], _places(20)[:, 0::2], rtol=0, atol=1e-6)
