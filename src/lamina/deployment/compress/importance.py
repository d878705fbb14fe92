"""What the parts of a block contribute on calibration texts: attention heads, feed-forward channels.

- A group of heads (a key-value head with the queries that share it) by the length of what it adds to the residual
  stream.
- A channel of the feed-forward network by the root mean square of its activation times the length of its column in the
  matrix that follows: what it adds (as in arXiv 2407.14679, and with the weight as in arXiv 2306.11695).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.kit.errors import InputError
from lamina.model.layers.block import Block
from lamina.model.transformer import Transformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Over ``tokens`` tokens, float64: for each block ``heads`` (Hkv,) and ``channels`` (F,)."""

    heads: tuple[Tensor, ...]
    channels: tuple[Tensor, ...]
    tokens: int


@torch.no_grad()
def measure(model: Transformer, batches: Iterable[Tensor]) -> Importance:
    """The importance of the parts of ``model`` (one stack, plain weights) on ``batches`` of ids (B, T) int64.

    Raises ``InputError`` where there is no batch, or the model is not of that kind.
    """
    check_plain(model)
    meters = [_Meter(block) for block in model.stack.blocks]
    with ExitStack() as hooks:
        for meter in meters:
            meter.attach(hooks)
        tokens = _run(model, batches)
    return Importance(
        heads=tuple(meter.heads / tokens for meter in meters),
        channels=tuple(meter.of_channels(tokens) for meter in meters),
        tokens=tokens,
    )


def check_plain(model: Transformer) -> None:
    """Raise ``InputError`` where ``model`` has two stacks, or weights that are not plain."""
    if model.encoder is not None and model.decoder is not None:
        raise InputError("a model with an encoder and a decoder cannot be pruned", where="prune")
    if not isinstance(model.stack.embeddings.token, nn.Embedding):
        raise InputError("a quantised model cannot be pruned", where="prune", hint="prune the model that it came from")


def _run(model: Transformer, batches: Iterable[Tensor]) -> int:
    """Send ``batches`` of ids through the model, in eval mode; how many tokens they had."""
    device, tokens = model.stack.embeddings.token.weight.device, 0
    training = model.training
    model.eval()
    for ids in batches:
        model(ids.to(device))
        tokens += ids.numel()
    model.train(training)
    if not tokens:
        raise InputError("there are no calibration texts", where="prune")
    return tokens


class _Meter:
    """Sums over tokens of what passes through one block."""

    def __init__(self, block: Block) -> None:
        self._block = block
        attention = block.attention
        device = attention.o.weight.device
        self.heads = torch.zeros(attention.kv_heads, dtype=torch.float64, device=device)
        self.squares = torch.zeros(block.feedforward.down.in_features, dtype=torch.float64, device=device)

    def attach(self, hooks: ExitStack) -> None:
        block = self._block
        hooks.callback(before_each(block.attention.o, self._attention_seen))
        hooks.callback(before_each(block.feedforward.down, self._feedforward_seen))

    def of_channels(self, tokens: int) -> Tensor:
        """(F,)"""
        columns = self._block.feedforward.down.weight.double().norm(dim=0)
        return (self.squares / tokens).sqrt() * columns

    def _attention_seen(self, x: Tensor) -> None:
        weight = self._block.attention.o.weight
        groups = len(self.heads)
        for number, (part, columns) in enumerate(zip(x.chunk(groups, -1), weight.chunk(groups, 1), strict=True)):
            self.heads[number] += F.linear(part, columns).float().norm(dim=-1).double().sum()

    def _feedforward_seen(self, x: Tensor) -> None:
        self.squares += x.float().flatten(0, -2).square().sum(dim=0).double()


def before_each(module: nn.Module, see: Callable[[Tensor], None]) -> Callable[[], None]:
    """Let ``see`` have each input of ``module``; what is returned ends that."""

    def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
        see(given[0])

    return module.register_forward_pre_hook(hook).remove
