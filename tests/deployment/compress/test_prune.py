"""Structured pruning against the parent with the same parts set to zero; what counts as important; refitting."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lamina.deployment.compress.depth import Gap
from lamina.deployment.compress.importance import measure
from lamina.deployment.compress.prune import Kept, PrunePlan, carved, choose, prune
from lamina.deployment.compress.quantize import quantize
from lamina.deployment.compress.refit import fitted
from lamina.kit.errors import ConfigError, InputError
from lamina.model.architectures.gpt import gpt2, llama, qwen2, qwen3, smollm3
from lamina.model.architectures.seq2seq import marian
from lamina.model.checkpoint import open_model, save_model
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

VOCABULARY = 60


def base(**more: Any) -> ModelSpec:
    sizes = {"width": 64, "layers": 4, "heads": 8, "kv_heads": 4, "inner": 320, "max_positions": 64}
    return llama(vocabulary=VOCABULARY, **(sizes | more))


SPECS = {
    "llama": base,
    "qwen2": lambda: qwen2(base()),
    "qwen3": lambda: qwen3(base()),
    "smollm3": lambda: smollm3(base(), every=2),
    "gpt2": lambda: gpt2(vocabulary=VOCABULARY, width=64, layers=4, heads=4, max_positions=64),
}


def make(spec: ModelSpec, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(spec).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.mul_(6.0)
        elif name.endswith("bias"):
            parameter.normal_(std=0.3)
    return model


def texts(count: int = 4, length: int = 48, seed: int = 1) -> list[torch.Tensor]:
    return list(torch.randint(VOCABULARY, (count, length), generator=torch.Generator().manual_seed(seed)).split(2))


def scores(model: Transformer, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(model(ids))


def masked(model: Transformer, kept: Kept) -> Transformer:
    """The parent with what is not ``kept`` set to zero where it would be added."""
    changed = copy.deepcopy(model)
    for number, block in enumerate(changed.stack.blocks):
        outputs = (block.attention.o, block.feedforward.down)
        if number not in kept.blocks:
            for layer in outputs:
                layer.weight.zero_()
                if layer.bias is not None:
                    layer.bias.zero_()
            continue
        place = kept.blocks.index(number)
        attention = block.attention
        size = attention.heads // attention.kv_heads * attention.head_dim
        for group in set(range(attention.kv_heads)) - set(kept.groups[place]):
            attention.o.weight[:, group * size : (group + 1) * size] = 0
        for channel in set(range(block.feedforward.down.in_features)) - set(kept.channels[place]):
            block.feedforward.down.weight[:, channel] = 0
    return changed


def fewer(kept: Kept, stay: tuple[int, ...]) -> Kept:
    """Of these blocks alone."""
    return Kept(blocks=stay, groups=tuple(kept.groups[i] for i in stay), channels=tuple(kept.channels[i] for i in stay))


@pytest.mark.parametrize(("family", "heads"), [(f, 0.5 if f in ("llama", "qwen3") else 0.0) for f in SPECS])
def test_the_pruned_model_is_the_parent_with_the_rest_set_to_zero(family: str, heads: float, tmp_path: Path) -> None:
    model = make(SPECS[family]())
    stay = (0, 3) if family == "smollm3" else (0, 1, 3)
    kept = choose(model.spec, PrunePlan(heads=heads, width=0.4), measure(model, texts()))
    kept = fewer(kept, stay)
    smaller = carved(model, kept)
    ids = texts(seed=7)[0]
    torch.testing.assert_close(scores(smaller, ids), scores(masked(model, kept), ids), rtol=1e-4, atol=1e-4)
    assert len(smaller.spec.stack.blocks) == (2 if family == "smollm3" else 3)
    assert {b.feedforward.inner % 32 for b in smaller.spec.stack.blocks} == {0}
    assert smaller.parameter_count < 0.8 * model.parameter_count
    save_model(smaller, tmp_path)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, scores(smaller, ids), rtol=1e-3, atol=1e-3)
    assert torch.equal(scores(open_model(tmp_path), ids), scores(smaller, ids))


def test_nothing_removed_changes_nothing() -> None:
    model = make(base())
    same = prune(model, PrunePlan(), texts()).model
    assert same.spec == model.spec
    assert torch.equal(scores(same, texts()[0]), scores(model, texts()[0]))


def test_parts_that_do_nothing_go_first() -> None:
    model = make(base())
    blocks = model.stack.blocks
    blocks[0].attention.o.weight[:, 16:32] = 0  # the second group: two heads of 8
    idle = list(range(3, 131))
    blocks[1].feedforward.down.weight[:, idle[:64]] = 0
    blocks[1].feedforward.up.weight[idle[64:]] = 0
    importance = measure(model, texts())
    assert importance.tokens == sum(ids.numel() for ids in texts())
    kept = choose(model.spec, PrunePlan(heads=0.25, width=0.4), importance)
    assert kept.groups[0] == (0, 2, 3)
    assert kept.channels[1] == tuple(i for i in range(320) if i not in idle)
    exact = carved(model, kept)
    ids = texts(seed=3)[1]
    torch.testing.assert_close(scores(exact, ids), scores(masked(model, kept), ids), rtol=1e-4, atol=1e-4)


def test_refitting_makes_up_for_inputs_that_follow_from_others() -> None:
    generator = torch.Generator().manual_seed(5)
    kept = torch.randn(500, 12, generator=generator)
    gone = kept @ torch.randn(12, 4, generator=generator) + 0.1 * torch.randn(500, 4, generator=generator)
    x, weight = torch.cat([kept, gone], 1), torch.randn(9, 16, generator=generator)
    wanted = F.linear(x, weight)
    new = fitted(weight, x.T @ x / len(x), range(12))
    off = (F.linear(kept, new) - wanted).norm()
    assert off < 0.2 * (F.linear(kept, weight[:, :12]) - wanted).norm()
    assert torch.equal(fitted(weight, x.T @ x, range(16)), weight)


def test_channels_that_do_nothing_go_from_blocks_behind_a_gap_too() -> None:
    model = make(base())
    for number, block in enumerate(model.stack.blocks):
        block.feedforward.down.weight[:, 40 * number : 40 * number + 128] = 0
    blocks = model.stack.blocks
    for layer in (blocks[1].attention.o, blocks[1].feedforward.down):
        layer.weight.zero_()
    found, ids = prune(model, PrunePlan(depth=0.25, width=0.4), texts()), texts(seed=3)[1]
    assert found.gap == Gap(1, 2)
    torch.testing.assert_close(scores(found.model, ids), scores(model, ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [0.0, 0.25])
def test_a_fitted_model_is_nearer_to_its_parent(depth: float) -> None:
    model, batches = make(base()), texts(count=64)
    ids = texts(seed=9)[0]
    parent = scores(model, ids).log_softmax(-1)

    def divergence(smaller: Transformer) -> float:
        ours = scores(smaller, ids).log_softmax(-1)
        return float(F.kl_div(ours, parent, log_target=True, reduction="batchmean"))

    found = prune(model, PrunePlan(depth=depth, heads=0.25, width=0.4), batches)
    assert (found.gap is None) == (not depth)
    stay = found.gap.stay(4) if found.gap else (0, 1, 2, 3)
    kept = choose(model.spec, PrunePlan(heads=0.25, width=0.4), measure(model, batches))
    plain = carved(model, fewer(kept, stay))
    assert found.model.spec == plain.spec
    assert divergence(found.model) < 0.95 * divergence(plain)


def test_what_cannot_be_pruned_says_so() -> None:
    model = make(base())
    with pytest.raises(ConfigError, match="'width' must be a share"):
        PrunePlan(width=1.0)
    with pytest.raises(InputError, match="no calibration texts"):
        measure(model, [])
    plain = make(SPECS["gpt2"]())
    with pytest.raises(ConfigError, match="no Hugging Face family"):
        prune(plain, PrunePlan(heads=0.5), texts())
    with pytest.raises(InputError, match="quantised"):
        prune(quantize(model), PrunePlan(width=0.2), texts())
    both = make(marian(vocabulary=VOCABULARY, width=32, layers=2, heads=4, inner=48, max_positions=64, start_token=0))
    with pytest.raises(InputError, match="encoder and a decoder"):
        measure(both, texts())
