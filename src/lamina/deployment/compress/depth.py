"""Which blocks in a row a decoder can do without, and what makes up for them.

The matrix that ends the block before a gap is fitted by least squares, so that the model goes on from there as its
parent goes on from behind the gap (after ReplaceMe, arXiv 2505.02819, which fits a matrix of the block's width). The
gap is where the next tokens of calibration texts are least surprising after that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.deployment.compress.calibration import check_calibrated, entered
from lamina.deployment.compress.importance import before_each
from lamina.deployment.compress.refit import regressed
from lamina.kit.progress import Progress, open_progress
from lamina.model.layers.block import Block, Surroundings
from lamina.model.transformer import Transformer

_FITTED, _MEASURED = 4096, 1024  # tokens with which gaps are compared: to fit, and to see what is lost


@dataclass(frozen=True, slots=True)
class Gap:
    """Blocks ``first`` to before ``behind`` go."""

    first: int
    behind: int

    def stay(self, blocks: int) -> tuple[int, ...]:
        """The numbers of those of ``blocks`` blocks that stay."""
        return (*range(self.first), *range(self.behind, blocks))


@torch.no_grad()
def find_gap(model: Transformer, size: int, batches: Sequence[Tensor], *, progress: Progress | None = None) -> Gap:
    """The ``size`` blocks in a row of a decoder, the first one not among them, without which least is lost.

    ``batches``: token ids (B, T) each; the first rows are read of those as long as the very first. Raises
    ``InputError`` as ``check_calibrated``.
    """
    check_calibrated(model, batches)
    shown = progress or open_progress("quiet")
    rows = torch.cat([ids for ids in batches if ids.shape[1] == batches[0].shape[1]])
    held, most = (max(1, tokens // rows.shape[1]) for tokens in (_MEASURED, _FITTED + _MEASURED))
    rows = rows[:most]
    fit = _Read(model, rows[:-held] if len(rows) > held else rows)
    seen = _Read(model, rows[-held:])
    gaps = [Gap(first, first + size) for first in range(1, len(fit.blocks) - size + 1)]
    losses = []
    with shown.task("depth", total=len(gaps), unit="places") as task:
        for gap in gaps:
            hidden = seen.states[gap.first]
            if _adds(fit.blocks[gap.first - 1]):
                change = regressed(*fit.moments(gap)).to(hidden.dtype)
                hidden = hidden + seen.inner(gap.first - 1) @ change
            for block, around in seen.behind(gap):
                hidden = block(hidden, around)
            losses.append(_loss(model, hidden, seen.ids))
            task.advance(1)
    least = gaps[losses.index(min(losses, key=lambda loss: math.inf if math.isnan(loss) else loss))]
    shown.say(f"least is lost without blocks {least.first} to {least.behind - 1}, counted from 0")
    return least


@torch.no_grad()
def bridged(model: Transformer, gap: Gap, batches: Sequence[Tensor]) -> dict[str, Tensor]:
    """The matrix that ends the block before ``gap``, by its name in ``model``, fitted on ``batches`` of ids (B, T).

    Empty where that block does more than add what it computes to what it reads ("pre" norms, or none, do).
    """
    number = gap.first - 1
    block: Any = model.stack.blocks[number]
    if not _adds(block):
        return {}
    square: Any = 0.0
    across: Any = 0.0
    for ids in batches:
        more = _Read(model, ids, until=gap.behind).moments(gap)
        square, across = square + more[0], across + more[1]
    weight = block.feedforward.down.weight
    return {f"decoder.blocks.{number}.feedforward.down.weight": weight + regressed(square, across).T.to(weight.dtype)}


class _Read:
    """What passed through a model as it read ``ids`` (B, T): ``states``, before each block and after the last one."""

    def __init__(self, model: Transformer, ids: Tensor, *, until: int | None = None) -> None:
        self.ids = ids.to(model.stack.embeddings.token.weight.device)
        given = entered(model, self.ids)
        self.blocks: list[Any] = list(model.stack.blocks)
        self._around = [around for _, around in given]
        self.states = [given[0][0]]
        for block, around in zip(self.blocks[:until], self._around, strict=False):
            self.states.append(block(self.states[-1], around))

    def behind(self, gap: Gap) -> list[tuple[Block, Surroundings]]:
        """The blocks behind a gap, and what each needs beside its input."""
        return list(zip(self.blocks[gap.behind :], self._around[gap.behind :], strict=True))

    def inner(self, number: int) -> Tensor:
        """What the last matrix of a block read, (B, T, F)."""
        read: list[Tensor] = []
        end = before_each(self.blocks[number].feedforward.down, read.append)
        try:
            self.blocks[number](self.states[number], self._around[number])
        finally:
            end()
        return read[0]

    def moments(self, gap: Gap) -> tuple[Tensor, Tensor]:
        """Xᵀ X and Xᵀ Y of what the last matrix before a gap reads, X (N, F), and of what the gap adds, Y (N, D)."""
        x = self.inner(gap.first - 1).flatten(0, -2).float()
        y = (self.states[gap.behind] - self.states[gap.first]).flatten(0, -2).float()
        return x.T @ x, x.T @ y


def _adds(block: Block) -> bool:
    """Whether what a block's last matrix gives is added to the residual stream as it is."""
    return block.placement in ("pre", "none")


def _loss(model: Transformer, hidden: Tensor, ids: Tensor) -> float:
    """Mean cross-entropy (nats) of next tokens, from what the last block gives (B, T, D)."""
    norm = model.stack.norm
    states = hidden if norm is None else norm(hidden)
    scores = model.logits(states[:, :-1].flatten(0, 1)).float()
    return float(F.cross_entropy(scores, ids[:, 1:].flatten()))
