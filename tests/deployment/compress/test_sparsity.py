"""Weights set to zero one by one: which ones, and what is said of them."""

from __future__ import annotations

import pytest
import torch

from lamina.deployment.compress.sparsity import NO_FASTER, analyse, in_words, kept, masked, perplexity
from lamina.model.architectures.gpt import llama
from lamina.model.transformer import Transformer


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(llama(vocabulary=40, width=32, layers=2, heads=4, inner=64, max_positions=32)).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(20.0 if "embeddings" not in name else 8.0)
    return model


def texts(seed: int) -> list[torch.Tensor]:
    return list(torch.randint(40, (4, 24), generator=torch.Generator().manual_seed(seed)).split(2))


def test_which_weights_stay() -> None:
    scores = torch.tensor([[1.0, 4.0, 2.0, 3.0], [8.0, 7.0, 6.0, 5.0]])
    assert kept(scores, share=0.5).tolist() == [[False] * 4, [True] * 4]
    assert kept(scores, share=0.5, by_output=True).tolist() == [[False, True, False, True], [True, True, False, False]]
    assert kept(scores, pattern="2:4").tolist() == [[False, True, False, True], [True, True, False, False]]


def test_wanda_weighs_by_inputs_and_magnitude_does_not(model: Transformer) -> None:
    block = model.stack.blocks[0]
    block.attention_norm.weight.data[:16] = 0.01  # inputs that hardly count
    by_size, by_inputs = (masked(model, method, texts(1)) for method in ("magnitude", "wanda"))
    zeros = [(m.stack.blocks[0].attention.q.weight == 0).float() for m in (by_size, by_inputs)]
    assert 0.3 < float(zeros[0][:, :16].mean()) < 0.7
    assert float(zeros[1][:, :16].mean()) > 0.95
    assert bool((zeros[1].sum(dim=1) == 16).all())  # of each output half
    assert not bool((block.attention.q.weight == 0).any())  # the model itself stays
    halves = masked(model, "wanda", texts(1), pattern="2:4").stack.blocks[1].feedforward.down.weight
    assert bool(((halves == 0).unflatten(1, (-1, 4)).sum(-1) == 2).all())


def test_the_report(model: Transformer) -> None:
    found = analyse(model, texts(1), texts(2), share=0.25)
    assert [(one.method, one.pattern) for one in found] == [
        (None, "any"),
        ("magnitude", "any"),
        ("magnitude", "2:4"),
        ("wanda", "any"),
        ("wanda", "2:4"),
    ]
    assert [one.share for one in found] == [0.0, 0.25, 0.5, 0.25, 0.5]
    with torch.no_grad():
        ids = torch.cat(texts(2))
        logits = model.logits(model(ids[:, :-1])).flatten(0, 1)
        expected = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()).exp()
    assert found[0].perplexity == pytest.approx(float(expected), rel=1e-5)
    assert found[0].perplexity == perplexity(model, texts(2))
    assert len({one.perplexity for one in found}) == 5
    said = in_words(found)
    assert said.endswith(NO_FASTER)
    assert "without 25% of the weights, wanda" in said
    assert "without 2:4, magnitude" in said
