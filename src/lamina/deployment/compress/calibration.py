"""What goes into the layers of a decoder while it reads: its blocks, walked one after another over batches of tokens.

    for block, seen in walk(model, batches):      # batches: token ids (B, T) each, from the stack's documents
        ...                                       # seen["attention"].moments: of what queries, keys and values read

Layers that read the same are one entry: see ``readers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lamina.deployment.compress.int4 import GROUP
from lamina.kit.errors import InputError
from lamina.kit.progress import Progress
from lamina.model.layers.block import Block, Surroundings
from lamina.model.transformer import Transformer

_ROWS = 512  # of the inputs that are kept as they are


@dataclass(slots=True)
class Inputs:
    """Of the rows x (K,) that went into a layer: ``moments`` E[x xᵀ] (K, K), ``size`` E[|x|] (K,), the largest
    ``peak`` max |x| (K,), and the first ``rows`` (R, K)."""

    moments: Tensor
    size: Tensor
    peak: Tensor
    rows: Tensor

    @property
    def of_groups(self) -> Tensor:
        """The moments within each group of 32 inputs, (K / 32, 32, 32)."""
        count = len(self.size) // GROUP
        blocks = self.moments.view(count, GROUP, count, GROUP)
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()

    def divided(self, scales: Tensor) -> Inputs:
        """Of x / ``scales`` (K,)."""
        return Inputs(
            moments=self.moments / scales[:, None] / scales,
            size=self.size / scales,
            peak=self.peak / scales,
            rows=self.rows / scales,
        )


@dataclass(slots=True)
class _Gathered:
    """Sums over the rows so far."""

    count: int = 0
    moments: Any = 0.0
    size: Any = 0.0
    peak: Any = None
    rows: list[Tensor] = field(default_factory=list)

    def hook(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0].detach().flatten(0, -2).float()
        if self.count < _ROWS:
            self.rows.append(x[: _ROWS - self.count].clone())
        self.count += len(x)
        absolute = x.abs()
        self.moments = self.moments + x.T @ x
        self.size = self.size + absolute.sum(0)
        peak = absolute.amax(0)
        self.peak = peak if self.peak is None else torch.maximum(self.peak, peak)

    def mean(self) -> Inputs:
        moments, size = self.moments / self.count, self.size / self.count
        return Inputs(moments=moments, size=size, peak=self.peak, rows=torch.cat(self.rows))


def readers(block: Block) -> dict[str, list[tuple[nn.Module, str]]]:
    """The linear layers of ``block`` by what they read, as (module, name in it): "attention" (queries, keys, values),
    "attended" (the output of attention), "feedforward" (gate, up), "inner" (down)."""
    attention, feedforward = block.attention, block.feedforward
    up = ["up"] if feedforward.gate is None else ["gate", "up"]
    return {
        "attention": [(attention, name) for name in "qkv"],
        "attended": [(attention, "o")],
        "feedforward": [(feedforward, name) for name in up],
        "inner": [(feedforward, "down")],
    }


@torch.no_grad()
def walk(
    model: Transformer, batches: Sequence[Tensor], *, again: bool = False, progress: Progress | None = None
) -> Iterator[tuple[Block, Mapping[str, Inputs]]]:
    """Each block of a decoder with what its layers read, by the names of ``readers``.

    A block may be changed before the next one is asked for. ``again``: the next blocks then read what the changed one
    gives; without it, what it gave before. Raises ``InputError`` as ``check_calibrated``.
    """
    check_calibrated(model, batches)
    around = [entered(model, ids) for ids in batches]
    hidden = [given[0][0] for given in around]
    blocks: Any = model.stack.blocks
    with ExitStack() as shown:
        task = None if progress is None else shown.enter_context(_task(progress, len(blocks)))
        for number, block in enumerate(blocks):
            gathered = {name: _Gathered() for name in readers(block)}
            with ExitStack() as hooks:
                for name, layers in readers(block).items():
                    layer: nn.Module = getattr(*layers[0])
                    hooks.callback(layer.register_forward_pre_hook(gathered[name].hook).remove)
                after = [block(x, given[number][1]) for x, given in zip(hidden, around, strict=True)]
            yield block, {name: found.mean() for name, found in gathered.items()}
            if again:
                after = [block(x, given[number][1]) for x, given in zip(hidden, around, strict=True)]
            hidden = after
            if task is not None:
                task.advance(1)


def check_calibrated(model: Transformer, batches: Sequence[Tensor]) -> None:
    """Raise ``InputError`` where there is nothing to read, or ``model`` is not a decoder alone."""
    if not sum(ids.numel() for ids in batches):
        raise InputError("there are no tokens to calibrate with", hint="the stack's training documents give them")
    if model.encoder is not None or model.decoder is None:
        raise InputError("only decoders are calibrated")


def _task(progress: Progress, blocks: int) -> Any:
    return progress.task("calibration", total=blocks, unit="blocks")


class _Recorder(nn.Module):
    """Stands in the place of a block, and keeps what it is given."""

    def forward(self, hidden: Tensor, around: Surroundings) -> Tensor:
        self.given = hidden, around
        return hidden


def entered(model: Transformer, ids: Tensor) -> list[tuple[Tensor, Surroundings]]:
    """What each block of ``model`` is given: the embeddings of ``ids`` (B, T), and its own surroundings."""
    blocks = model.stack.blocks
    recorders = [_Recorder() for _ in blocks]
    model.stack.blocks = nn.ModuleList(recorders)
    try:
        model(ids)
    finally:
        model.stack.blocks = blocks
    return [recorder.given for recorder in recorders]
