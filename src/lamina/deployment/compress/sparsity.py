"""Single weights set to zero, for analysis alone: what a model loses by it. It gets neither smaller nor faster.

- "magnitude": the smallest of a matrix go (arXiv 1506.02626).
- "wanda": of each output the weights whose size times the length of their input is smallest (arXiv 2306.11695).

"2:4" leaves the two best of each four neighbours (arXiv 2104.08378); otherwise a share of all goes, wherever they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.deployment.compress.calibration import readers, walk
from lamina.model.evaluate.scoring import Passage, score
from lamina.model.layers.block import Block
from lamina.model.transformer import Transformer

Method = Literal["magnitude", "wanda"]
Pattern = Literal["any", "2:4"]

#: What a report says beside the figures.
NO_FASTER = (
    "Zeros among the weights make no model smaller or faster on a processor: they are stored and multiplied as other "
    "numbers are. Blocks, heads, channels and tokens that are cut out do."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """The ``perplexity`` of a model with ``share`` of the weights within its blocks set to zero."""

    method: Method | None  # None: the model as it is
    pattern: Pattern
    share: float
    perplexity: float


def analyse(
    model: Transformer, calibration: Sequence[Tensor], texts: Sequence[Tensor], *, share: float = 0.5
) -> list[Masked]:
    """Perplexities on ``texts``, batches of token ids (B, T): of ``model``, and of its masked forms by either method,
    ``share`` of the weights and 2:4. ``calibration``: what wanda's inputs are measured on."""
    found = [Masked(method=None, pattern="any", share=0.0, perplexity=perplexity(model, texts))]
    methods: tuple[Method, ...] = ("magnitude", "wanda")
    patterns: tuple[Pattern, ...] = ("any", "2:4")
    for method in methods:
        for pattern in patterns:
            changed = masked(model, method, calibration, pattern=pattern, share=share)
            gone = share if pattern == "any" else 0.5
            found.append(Masked(method=method, pattern=pattern, share=gone, perplexity=perplexity(changed, texts)))
    return found


@torch.no_grad()
def masked(
    model: Transformer,
    method: Method,
    calibration: Sequence[Tensor] = (),
    *,
    pattern: Pattern = "any",
    share: float = 0.5,
) -> Transformer:
    """A copy of a decoder with weights of the layers within its blocks set to zero; ``share`` is not of 2:4.

    "wanda" goes through the blocks in order, each measured on what the masked ones before it give.
    """
    changed = copy.deepcopy(model)
    if method == "magnitude":
        for block in changed.stack.blocks:
            for layer, _ in _layers(block):
                layer.weight.mul_(kept(layer.weight.abs(), pattern=pattern, share=share))
        return changed
    for block, seen in walk(changed, calibration, again=True):
        for layer, reads in _layers(block):
            length = seen[reads].moments.diagonal().sqrt()
            layer.weight.mul_(kept(layer.weight.abs() * length, pattern=pattern, share=share, by_output=True))
    return changed


def kept(scores: Tensor, *, pattern: Pattern = "any", share: float = 0.5, by_output: bool = False) -> Tensor:
    """Which weights stay, by their ``scores`` (N, K): a mask (N, K) of bool; ``by_output``: of each row as many."""
    if pattern == "2:4":
        fours = scores.unflatten(1, (-1, 4))
        best = fours.topk(2, dim=-1).indices
        return torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, best, True).flatten(1)
    rows = scores if by_output else scores.reshape(1, -1)
    gone = rows.topk(round(rows.shape[1] * share), dim=1, largest=False).indices
    return torch.ones_like(rows, dtype=torch.bool).scatter_(1, gone, False).view_as(scores)


def perplexity(model: Transformer, texts: Sequence[Tensor]) -> float:
    """e to the mean of -ln p of each token of ``texts`` (B, T) but the first of a row."""
    nats = sum(sum(score(model, [Passage(row, 1, 0) for row in ids.tolist()])) for ids in texts)
    return math.exp(nats / sum(ids[:, 1:].numel() for ids in texts))


def in_words(found: Sequence[Masked]) -> str:
    """The figures, a line each, and what they do not do."""
    whole = found[0].perplexity
    lines = [f"perplexity {whole:.2f} as it is"]
    for one in found[1:]:
        what = "2:4" if one.pattern == "2:4" else f"{one.share:.0%} of the weights"
        lines.append(
            f"perplexity {one.perplexity:.2f} ({one.perplexity / whole - 1:+.1%}) without {what}, {one.method}"
        )
    return "\n".join([*lines, NO_FASTER])


def _layers(block: Block) -> list[tuple[nn.Linear, str]]:
    """The linear layers of a block, and what each of them reads."""
    return [(getattr(*place), reads) for reads, places in readers(block).items() for place in places]
