"""The gap of blocks without which least is lost, and the matrix that bridges it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lamina.deployment.compress.depth import Gap, bridged, find_gap
from lamina.deployment.compress.importance import measure
from lamina.deployment.compress.prune import PrunePlan, carved, choose, prune
from lamina.kit.errors import InputError
from lamina.kit.progress import open_progress
from lamina.model.architectures.gpt import llama
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

VOCABULARY, BLOCKS = 60, 5


def make(spec: ModelSpec | None = None) -> Transformer:
    torch.manual_seed(0)
    sizes = {"width": 64, "layers": BLOCKS, "heads": 8, "kv_heads": 4, "inner": 320, "max_positions": 64}
    model = Transformer(spec or llama(vocabulary=VOCABULARY, **sizes)).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.mul_(4.0)
    return model


def texts(model: Transformer, count: int = 24, seed: int = 1) -> list[torch.Tensor]:
    """Token ids (B, T) each, that the model itself finds likely, so that a loss says something."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (count, 1), generator=generator)
    for _ in range(31):
        likely = model.logits(model(ids)[:, -1]).softmax(-1)
        ids = torch.cat([ids, torch.multinomial(likely, 1, generator=generator)], 1)
    return list(ids.split(8))


@torch.no_grad()
def scores(model: Transformer, ids: torch.Tensor) -> torch.Tensor:
    return model.logits(model(ids))


def idle(model: Transformer, *numbers: int) -> None:
    """Let these blocks add nothing."""
    for number in numbers:
        block = model.stack.blocks[number]
        block.attention.o.weight.zero_()
        block.feedforward.down.weight.zero_()


def test_blocks_that_do_nothing_are_the_gap() -> None:
    model = make()
    idle(model, 2, 3)
    batches = texts(model)
    shown = io.StringIO()
    gap = find_gap(model, 2, batches, progress=open_progress("plain", stream=shown))
    assert gap == Gap(2, 4)
    assert gap.stay(BLOCKS) == (0, 1, 4)
    assert f"depth: done {BLOCKS - 2}/{BLOCKS - 2} places" in shown.getvalue()
    assert "without blocks 2 to 3," in shown.getvalue()
    ids = texts(model, seed=5)[0]
    plan, importance = PrunePlan(depth=0.4), measure(model, batches)
    smaller = prune(model, plan, importance, calibration=batches)
    torch.testing.assert_close(scores(smaller, ids), scores(model, ids), rtol=1e-4, atol=1e-4)


def test_one_text_is_enough_to_find_a_gap() -> None:
    model = make()
    gap = find_gap(model, 2, [texts(model)[0][:1]])
    assert 1 <= gap.first == gap.behind - 2 <= BLOCKS - 2


def test_a_bridge_makes_up_for_the_gap() -> None:
    model, gap = make(), Gap(2, 4)
    for number in (2, 3):
        model.stack.blocks[number].feedforward.down.weight.mul_(0.3)
    batches, ids = texts(model, count=96), texts(model, seed=7)[0]
    importance = measure(model, batches)
    kept = choose(model.spec, PrunePlan(), importance, blocks=gap.stay(BLOCKS))
    weights = bridged(model, gap, batches)
    assert list(weights) == ["decoder.blocks.1.feedforward.down.weight"]
    wanted = scores(model, ids).log_softmax(-1)

    def off(smaller: Transformer) -> float:
        ours = scores(smaller, ids).log_softmax(-1)
        return float(F.kl_div(ours, wanted, log_target=True, reduction="batchmean"))

    assert off(carved(model, kept, weights)) < 0.9 * off(carved(model, kept))


def test_what_adds_nothing_needs_no_bridge() -> None:
    model, gap = make(), Gap(1, 2)
    idle(model, 1)
    added = bridged(model, gap, texts(model))["decoder.blocks.0.feedforward.down.weight"]
    torch.testing.assert_close(added, model.stack.blocks[0].feedforward.down.weight)


@pytest.mark.parametrize("placement", ["post", "sandwich"])
def test_blocks_with_norms_behind_their_matrices_are_not_fitted(placement: str) -> None:
    spec = make().spec
    stack = spec.stack
    blocks = tuple(replace(block, placement=placement) for block in stack.blocks)
    model = make(replace(spec, decoder=replace(stack, blocks=blocks)))
    batches = texts(model)
    assert bridged(model, Gap(1, 2), batches) == {}
    assert find_gap(model, 2, batches).behind <= BLOCKS


def test_without_texts_there_is_no_gap_to_be_found() -> None:
    with pytest.raises(InputError, match="no tokens to calibrate with"):
        find_gap(make(), 1, [])
