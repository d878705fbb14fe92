"""The gradient of one step: of its micro-batches, in the plan's precision, over all processes that train together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from torch import Tensor

from lamina.contracts.tokens import Batch, BatchStream
from lamina.kit.errors import ConfigError, StageError
from lamina.model.layers.kernels import attention_kernels
from lamina.model.train.distributed import Team, unused
from lamina.model.train.graphs import Graphs
from lamina.model.train.objectives import Aims, Counts, batch_loss
from lamina.model.transformer import Transformer

_log = logging.getLogger(__name__)
_EMPTY = 1000  # micro-batches in a row without a learned token


def take(stream: BatchStream, count: int) -> list[Batch]:
    """The ``count`` micro-batches of one step; at least one token of them is learned. Raises ``ConfigError``."""
    for _ in range(_EMPTY):
        batches = [next(stream) for _ in range(count)]
        if any(batch.learned for batch in batches):
            return batches
    raise ConfigError(
        f"{_EMPTY} steps' batches hold not one token to learn", where="model.train", hint="is the loss mask empty?"
    )


class Step:
    """Losses and gradients of ``model`` on ``device`` for its ``aims``."""

    def __init__(self, model: Transformer, aims: Aims, device: torch.device, team: Team) -> None:
        self._model, self._aims, self._device, self._team = model, aims, device, team
        self._cast = partial(_cast, device.type)
        self._graphs = Graphs(model, aims, self._cast) if device.type == "cuda" and team.alone else None

    def backward(self, batches: Sequence[Batch], precision: str) -> Tensor:
        """Add up the gradients of the mean loss over all learned tokens, plus that over all labels; returns that loss
        (nats, float64), over all processes. It is not waited for: a GPU may still be computing it. Raises
        ``StageError`` where the memory does not hold the step."""
        with _in_memory(batches):
            try:
                total = self._summed(batches, precision)
            except torch.OutOfMemoryError:  # what was captured holds memory that nothing else may use
                if self._graphs is None or not self._graphs.forget(for_good=True):
                    raise
                total = None
            if total is None:
                self._model.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
                _log.warning("the memory does not hold CUDA graphs beside a step: training goes without them")
                total = self._summed(batches, precision)
        return total if self._team.alone else total.new_tensor(self._team.sum(total.item()))

    def forget(self) -> None:
        """Let go of what was captured on a GPU, and of its memory."""
        if self._graphs is not None:
            self._graphs.forget()

    def _summed(self, batches: Sequence[Batch], precision: str) -> Tensor:
        counts, total = Counts.of(batches), torch.zeros((), dtype=torch.float64, device=self._device)
        for batch in self._team.share(batches):
            if batch.learned or not self._team.alone:
                total += self._backward(batch, counts, precision).detach()
        return total

    def _backward(self, batch: Batch, counts: Counts, precision: str) -> Tensor:
        captured = None if self._graphs is None else self._graphs.backward(batch, counts, precision)
        if captured is not None:
            return captured
        with self._cast(precision):
            loss = batch_loss(self._model, batch, self._device, counts, self._aims)
            if not batch.learned:  # the other processes wait for this one's zeros
                loss = loss + unused(self._model)
        loss.backward()
        return loss

    @torch.no_grad()
    def measure(self, batches: Sequence[Batch], precision: str) -> float:
        """The mean loss (nats) over all learned tokens of ``batches``, plus that over all labels; no gradient."""
        counts, total, training = Counts.of(batches), 0.0, self._model.training
        self._model.eval()
        try:
            for batch in batches:
                with self._cast(precision):
                    loss = batch_loss(self._model, batch, self._device, counts, self._aims)
                total += loss.item() if batch.learned else 0.0
        finally:
            self._model.train(training)
            self._forget()
        return total

    def kernels(self, batch: Batch, precision: str) -> Mapping[str, int]:
        """How often ``batch`` asks for attention, by the kernel that torch takes in training (``layers.kernels``)."""
        with torch.compiler.set_stance("force_eager"), attention_kernels() as seen, self._cast(precision):
            batch_loss(self._model, batch, self._device, Counts.of([batch]), self._aims)
        self._forget()
        return dict(seen)

    def _forget(self) -> None:
        """After a pass without a backward one: what was gathered for it is not to outlive the weights of now."""
        if not self._team.alone:
            self._team.forget_gathered(self._model)


def _cast(device: str, precision: str) -> AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def _in_memory(batches: Sequence[Batch]) -> Iterator[None]:
    """Say what to do where the memory is too small, instead of which call found out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        rows, length = batches[0].inputs.shape
        raise StageError(
            f"out of memory in a step: {rows} rows of {length} tokens at a time are too many ({_first_line(error)})",
            where="model.train",
            hint=f"batch = {max(1, rows // 2)} with accumulate doubled learns the same; or recompute = true, or a "
            "smaller length",
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
