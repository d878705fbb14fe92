"""The gap of blocks without which least is lost, and the matrix that bridges it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lamina.deployment.compress import depth
from lamina.deployment.compress.depth import Gap, bridged, find_gap
from lamina.deployment.compress.prune import PrunePlan, carved, prune, whole
from lamina.kit.errors import InputError
from lamina.kit.progress import open_progress
from lamina.model.architectures.gpt import gpt2, llama, smollm3
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

VOCABULARY, BLOCKS = 60, 5


def base() -> ModelSpec:
    return llama(vocabulary=VOCABULARY, width=64, layers=BLOCKS, heads=8, kv_heads=4, inner=320, max_positions=64)


SPECS = {
    "llama": base,
    "smollm3": lambda: smollm3(base(), every=2),
    "gpt2": lambda: gpt2(vocabulary=VOCABULARY, width=64, layers=BLOCKS, heads=4, max_positions=64),
    "gemma3": lambda: sandwiched(base()),
}


def sandwiched(spec: ModelSpec) -> ModelSpec:
    """Norms behind each part as well, and every second block with a window, as Gemma 3 has them."""
    assert spec.decoder
    blocks = tuple(
        replace(block, placement="sandwich", attention=replace(block.attention, window=8 if number % 2 else None))
        for number, block in enumerate(spec.decoder.blocks)
    )
    return replace(spec, decoder=replace(spec.decoder, blocks=blocks))


def make(spec: ModelSpec | None = None) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(spec or base()).eval().requires_grad_(False)
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
    batches, shown = texts(model), io.StringIO()
    found = prune(model, PrunePlan(depth=0.4), batches, progress=open_progress("plain", stream=shown))
    assert found.gap == Gap(2, 4)
    assert found.gap.stay(BLOCKS) == (0, 1, 4)
    assert f"depth: done {BLOCKS - 2}/{BLOCKS - 2} places" in shown.getvalue()
    assert "without blocks 2 to 3," in shown.getvalue()
    ids = texts(model, seed=5)[0]
    torch.testing.assert_close(scores(found.model, ids), scores(model, ids), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def loss(model: Transformer, ids: torch.Tensor) -> float:
    return float(F.cross_entropy(scores(model, ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()))


def without(model: Transformer, gap: Gap, weights: dict[str, torch.Tensor]) -> Transformer:
    return carved(model, whole(model.spec, gap.stay(BLOCKS)), weights)


@pytest.mark.parametrize("size", [1, 2, BLOCKS - 1])
@pytest.mark.parametrize("family", SPECS)
def test_the_gap_is_the_one_that_loses_least_once_it_is_bridged(
    family: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(SPECS[family]())
    rows = torch.cat(texts(model, count=20))
    monkeypatch.setattr(depth, "_FITTED", 16 * rows.shape[1])
    monkeypatch.setattr(depth, "_MEASURED", 4 * rows.shape[1])
    gaps = [Gap(first, first + size) for first in range(1, BLOCKS - size + 1)]
    losses = [loss(without(model, gap, bridged(model, gap, [rows[:16]])), rows[16:]) for gap in gaps]
    short = torch.zeros(3, 5, dtype=torch.int64)
    assert find_gap(model, size, [rows[:7], short, rows[7:]]) == gaps[losses.index(min(losses))]


def test_one_text_is_enough_to_find_a_gap() -> None:
    model = make()
    gap = find_gap(model, 2, [texts(model)[0][:1]])
    assert 1 <= gap.first == gap.behind - 2 <= BLOCKS - 2


def test_a_bridge_makes_up_for_the_gap() -> None:
    model, gap = make(), Gap(2, 4)
    for number in (2, 3):
        model.stack.blocks[number].feedforward.down.weight.mul_(0.3)
    batches, ids = texts(model, count=96), texts(model, seed=7)[0]
    weights = bridged(model, gap, batches)
    assert list(weights) == ["decoder.blocks.1.feedforward.down.weight"]
    wanted = scores(model, ids).log_softmax(-1)

    def off(smaller: Transformer) -> float:
        ours = scores(smaller, ids).log_softmax(-1)
        return float(F.kl_div(ours, wanted, log_target=True, reduction="batchmean"))

    assert off(without(model, gap, weights)) < 0.9 * off(without(model, gap, {}))


def test_what_adds_nothing_needs_no_bridge() -> None:
    model, gap = make(), Gap(1, 2)
    idle(model, 1)
    added = bridged(model, gap, texts(model))["decoder.blocks.0.feedforward.down.weight"]
    torch.testing.assert_close(added, model.stack.blocks[0].feedforward.down.weight)


def test_blocks_with_norms_behind_their_matrices_are_not_fitted() -> None:
    model = make(SPECS["gemma3"]())
    assert bridged(model, Gap(1, 2), texts(model)) == {}


def test_without_texts_there_is_no_gap_to_be_found() -> None:
    with pytest.raises(InputError, match="no tokens to calibrate with"):
        find_gap(make(), 1, [])
