"""Structured pruning: blocks, groups of attention heads and feed-forward channels are cut out: the model is smaller.

Every block keeps as many heads and channels as the others, so that the family's ``config.json`` still describes the
model and any program for that family opens it. What is kept keeps its order and, unless it is refitted, its weights:
the pruned model equals the parent with the removed parts set to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lamina.deployment.compress.calibration import check_calibrated
from lamina.deployment.compress.depth import Gap, bridged, find_gap
from lamina.deployment.compress.importance import Importance, check_plain, measure
from lamina.deployment.compress.refit import refitted
from lamina.kit.errors import ConfigError, ModelFileError
from lamina.kit.progress import Progress
from lamina.model.families import family_of_spec
from lamina.model.layers.hollow import hollow
from lamina.model.spec import BlockSpec, ModelSpec, StackSpec
from lamina.model.transformer import Transformer

_WIDE = 256  # channels; a wider feed-forward network is cut in steps of 64, which kernels like, a narrower of 32
_WHERE = "prune"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """Shares that are removed: of the blocks, of each block's groups of heads, of its feed-forward channels.

    The numbers that stay are rounded: blocks and groups to whole ones, channels to a multiple of 64 (32 below 256).
    """

    depth: float = 0.0
    heads: float = 0.0
    width: float = 0.0

    def __post_init__(self) -> None:
        for name in ("depth", "heads", "width"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"'{name}' must be a share from 0 to below 1, not {getattr(self, name)}", where=_WHERE
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The numbers, in order, of what stays: ``blocks``, and for each of them ``groups`` of heads and ``channels``."""

    blocks: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    channels: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A smaller ``model``, and the ``gap`` of blocks in it, by the parent's numbers."""

    model: Transformer
    gap: Gap | None


def choose(spec: ModelSpec, plan: PrunePlan, importance: Importance) -> Kept:
    """What stays of the blocks of ``spec``: their most important groups and channels, as many as ``plan`` leaves."""
    blocks, (_, groups, channels) = range(len(spec.stack.blocks)), _counts(spec, plan)
    return Kept(
        blocks=tuple(blocks),
        groups=tuple(_best(importance.heads[i], groups) for i in blocks),
        channels=tuple(_best(importance.channels[i], channels) for i in blocks),
    )


def prune(
    model: Transformer, plan: PrunePlan, calibration: Sequence[Tensor], *, progress: Progress | None = None
) -> Pruned:
    """A smaller decoder, in eval mode, with weights fitted to make up for what is gone; ``model`` stays as it is.

    ``calibration``: batches of ids (B, T), on which parts are measured and matrices fitted: the one before a gap of
    blocks (see ``depth``), then those behind removed heads and channels (see ``refit``).
    Raises ``ConfigError`` where no Hugging Face family has such a model, ``InputError`` where there is nothing to read,
    or the model is not a decoder of plain weights.
    """
    check_plain(model)
    check_calibrated(model, calibration)
    spec, layers = model.spec, len(model.spec.stack.blocks)
    count, groups, channels = _counts(spec, plan)
    _check(narrowed(spec, _first(count, groups, channels)))  # before anything is measured
    gap, shallow = None, model
    if count < layers:
        gap = find_gap(model, layers - count, calibration, progress=progress)
        kept = whole(spec, gap.stay(layers))
        _check(narrowed(spec, kept))
        shallow = carved(model, kept, bridged(model, gap, calibration))
    rest, weights = whole(shallow.spec, range(count)), None
    if plan.heads or plan.width:
        rest = choose(shallow.spec, plan, measure(shallow, calibration))
        weights = refitted(shallow, rest.groups, rest.channels, calibration, progress=progress)
    return Pruned(model=carved(shallow, rest, weights), gap=gap)


@torch.no_grad()
def carved(model: Transformer, kept: Kept, weights: Mapping[str, Tensor] | None = None) -> Transformer:
    """The model of what is ``kept``; ``weights``: by our names in ``model``, others than its own, cut already."""
    spec = narrowed(model.spec, kept)
    with hollow():
        smaller = Transformer(spec)
    given, state = weights or {}, {}
    numbers = {old: new for new, old in enumerate(kept.blocks)}
    for name, tensor in model.state_dict().items():
        if name in model.aliases:
            continue
        stem, blocks, rest = name.partition(".blocks.")
        if not blocks:
            state[name] = tensor.clone()
            continue
        number, _, part = rest.partition(".")
        if (new := numbers.get(int(number))) is not None:
            cut = _cutter(part, model.spec.stack.blocks[int(number)], kept.groups[new], kept.channels[new])
            state[f"{stem}.blocks.{new}.{part}"] = given[name] if name in given else cut(tensor).clone()
    smaller.load_state_dict(state, strict=False, assign=True)
    smaller.tie()
    return smaller.eval()


def narrowed(spec: ModelSpec, kept: Kept) -> ModelSpec:
    """The specification of what is ``kept``."""
    stack = spec.stack
    blocks = tuple(
        _smaller(stack.blocks[number], len(groups), len(channels))
        for number, groups, channels in zip(kept.blocks, kept.groups, kept.channels, strict=True)
    )
    return with_stack(spec, replace(stack, blocks=blocks))


def with_stack(spec: ModelSpec, stack: StackSpec) -> ModelSpec:
    """``spec`` with another stack in the place of its one."""
    return replace(spec, decoder=stack) if spec.decoder is not None else replace(spec, encoder=stack)


def in_words(before: Transformer, after: Transformer) -> str:
    """What went, for the reader."""
    old, new = before.spec.stack, after.spec.stack
    parts = [
        (len(old.blocks), len(new.blocks), "blocks"),
        (old.blocks[0].attention.heads, new.blocks[0].attention.heads, "heads"),
        (old.blocks[0].feedforward.inner, new.blocks[0].feedforward.inner, "channels"),
        (old.embeddings.vocabulary, new.embeddings.vocabulary, "tokens"),
    ]
    share = 1 - after.parameter_count / before.parameter_count
    said = ", ".join(f"{a:,} -> {b:,} {what}" for a, b, what in parts if a != b) or "nothing"
    return (
        f"pruned: {said}; {before.parameter_count / 1e6:.1f} M -> {after.parameter_count / 1e6:.1f} M parameters "
        f"({share:.1%} fewer)"
    )


def _counts(spec: ModelSpec, plan: PrunePlan) -> tuple[int, int, int]:
    """How many blocks, groups of heads and channels stay."""
    if plan.heads and spec.stack.relative:
        raise ConfigError("heads with a relative position bias cannot be removed", where="prune.heads")
    first = spec.stack.blocks[0]
    return (
        max(1, round(len(spec.stack.blocks) * (1 - plan.depth))),
        max(1, round(first.attention.kv_heads * (1 - plan.heads))),
        _channels(first.feedforward.inner, plan.width),
    )


def _best(scores: Tensor, count: int) -> tuple[int, ...]:
    """The numbers of the ``count`` highest scores, in their order."""
    return tuple(sorted(torch.argsort(scores, descending=True, stable=True)[:count].tolist()))


def _channels(inner: int, share: float) -> int:
    if not share:
        return inner
    step = 64 if inner >= _WIDE else 32
    return min(inner, max(step, round(inner * (1 - share) / step) * step))


def _first(blocks: int, groups: int, channels: int) -> Kept:
    """So many parts, the first of each kind."""
    return Kept(
        blocks=tuple(range(blocks)),
        groups=(tuple(range(groups)),) * blocks,
        channels=(tuple(range(channels)),) * blocks,
    )


def whole(spec: ModelSpec, blocks: Sequence[int]) -> Kept:
    """All of some blocks."""
    found = [spec.stack.blocks[i] for i in blocks]
    return Kept(
        blocks=tuple(blocks),
        groups=tuple(tuple(range(b.attention.kv_heads)) for b in found),
        channels=tuple(tuple(range(b.feedforward.inner)) for b in found),
    )


def _smaller(block: BlockSpec, groups: int, channels: int) -> BlockSpec:
    attention = block.attention
    heads = attention.heads // attention.kv_heads * groups
    return replace(
        block,
        attention=replace(attention, heads=heads, kv_heads=groups),
        feedforward=replace(block.feedforward, inner=channels),
    )


def _cutter(part: str, block: BlockSpec, groups: Sequence[int], channels: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """What is done to a block's parameter called ``part``."""
    attention = block.attention
    queries = attention.heads // attention.kv_heads * attention.head_dim  # rows of a group
    of_rows = {"attention.q": (groups, queries), "attention.k": (groups, attention.head_dim)}
    of_rows |= {"attention.v": of_rows["attention.k"]}
    of_rows |= {"feedforward.up": (channels, 1), "feedforward.gate": (channels, 1)}
    of_columns = {"attention.o": (groups, queries), "feedforward.down": (channels, 1)}
    stem, _, kind = part.rpartition(".")
    if stem in of_rows:
        numbers, size = of_rows[stem]
        return lambda tensor: tensor[_places(numbers, size)]
    if stem in of_columns and kind == "weight":
        numbers, size = of_columns[stem]
        return lambda tensor: tensor[:, _places(numbers, size)]
    return lambda tensor: tensor


def _places(numbers: Sequence[int], size: int) -> Tensor:
    """The places of the items ``numbers``, each of ``size`` places."""
    return (torch.tensor(numbers)[:, None] * size + torch.arange(size)).flatten()


def _check(spec: ModelSpec) -> None:
    try:
        family_of_spec(spec)
    except ModelFileError as error:
        raise ConfigError(
            "no Hugging Face family has such a model",
            where=_WHERE,
            hint="heads = 0: those of GPT-2, Qwen 2, SmolLM3 and BERT fill the model's width",
        ) from error
