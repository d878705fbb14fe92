"""Several processes that train one model: FSDP2 (PyTorch FSDP, arXiv 2304.11277, per-parameter sharding).

``torchrun`` (or Ray Train) begins the processes; each holds its share of every weight, gradient and optimizer state,
and learns from its share of every step. Gradients are summed over all, so that the mean is that over the learned
tokens of all processes, as in one process with the whole batch.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from lamina.contracts.tokens import Batch
from lamina.kit.errors import ConfigError
from lamina.model.transformer import Transformer

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


@contextmanager
def joined() -> Iterator[bool]:
    """Join the processes that ``torchrun`` began, if it did (``WORLD_SIZE`` above 1): gloo, and NCCL between GPUs."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield dist.is_initialized()
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield True
    finally:
        dist.destroy_process_group()


class Team:
    """The processes that train together: all that have joined, or this one alone."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    @property
    def lead(self) -> bool:
        """Whether this process is the one that decides, writes and tells."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def agree(self, value: Any) -> Any:
        """The leading process' ``value`` (JSON)."""
        if self.alone:
            return value
        data = json.dumps(value).encode() if self.lead else b""
        length = torch.tensor([len(data)])
        dist.broadcast(length, 0)
        told = torch.zeros(int(length), dtype=torch.uint8)
        if self.lead:
            told.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(told, 0)
        return json.loads(told.numpy().tobytes())

    def sum(self, value: float) -> float:
        """Over all processes."""
        if self.alone:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(total)
        return float(total)

    def any(self, flag: bool) -> bool:
        """Whether it holds in one of them."""
        return self.sum(float(flag)) > 0

    def wait(self) -> None:
        """Until all have come here."""
        if not self.alone:
            dist.barrier()

    def share(self, batches: Sequence[Batch]) -> list[Batch]:
        """This process' share of a step: of the rows of each micro-batch, or whole micro-batches where rows belong
        together or are too few. Raises ``ConfigError`` where neither can be shared out."""
        if self.alone:
            return list(batches)
        if all(len(b.inputs) >= self.size and not _belong_together(b) for b in batches):
            return [_rows(batch, self.rank, self.size) for batch in batches]
        if len(batches) % self.size == 0:
            return list(batches[self.rank :: self.size])
        raise ConfigError(
            f"a step of {len(batches)} micro-batches of {len(batches[0].inputs)} rows cannot be shared out over "
            f"{self.size} processes",
            where="model.train",
            hint=f"batch = {self.size} or more, or accumulate = a multiple of {self.size}",
        )

    def shard(self, model: Transformer) -> Transformer:
        """``model`` itself, or a copy of it of which each process holds a part (FSDP2, a group a block)."""
        if self.alone:
            return model
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        shared = copy.deepcopy(model)
        mesh = init_device_mesh(next(model.parameters()).device.type, (self.size,))
        for stack in (shared.encoder, shared.decoder):
            for block in stack.blocks if stack is not None else ():
                fully_shard(block, mesh=mesh)
        fully_shard(shared, mesh=mesh, reshard_after_forward=False)  # heads read its weights after the forward pass
        for module in shared.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # losses are divided by the counts of all processes already
                module.set_force_sum_reduction_for_comms(True)  # gloo has no other
        return shared

    def forget_gathered(self, shared: nn.Module) -> None:
        """Let go of whole weights that a forward pass without a backward one left behind."""
        from torch.distributed.fsdp import FSDPModule

        if isinstance(shared, FSDPModule):
            shared.reshard()

    @torch.no_grad()
    def collect(self, shared: Transformer, model: Transformer) -> None:
        """Put the weights of ``shared`` into ``model``, whole, in each process."""
        if shared is not model:
            theirs = dict(shared.named_parameters())
            for name, parameter in model.named_parameters():
                parameter.copy_(whole(theirs[name]))


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be shared out; every process must ask."""
    return tensor.full_tensor() if _is_shared(tensor) else tensor


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """``value`` (whole) shared out as ``parameter`` is, where it has its shape."""
    if _is_shared(parameter) and value.shape == parameter.shape:
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value


def _is_shared(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether this process holds a part of it. Alone it does not, and need not load the module that would tell, which
    takes over a second."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def _belong_together(batch: Batch) -> bool:
    """Whether the loss of a row depends on other rows: preferences, and likenesses of texts."""
    return batch.references is not None or (batch.labels is not None and batch.sources is not None)


def _rows(batch: Batch, rank: int, size: int) -> Batch:
    own: dict[str, Any] = {}
    for field in fields(batch):
        array = getattr(batch, field.name)
        own[field.name] = None if array is None else np.ascontiguousarray(array[rank::size])
    return Batch(**own)


def unused(model: nn.Module) -> Tensor:
    """Zero, by way of every weight that is not in a block: so that their gradients exist in each process."""
    parts = [p for name, p in model.named_parameters() if p.requires_grad and ".blocks." not in name]
    return torch.stack([p.sum() * 0.0 for p in parts]).sum()
