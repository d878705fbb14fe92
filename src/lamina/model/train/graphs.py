"""The gradient of a micro-batch on a GPU as a CUDA graph, captured once for each form of batch.

A small model's step is a thousand kernels of a few microseconds: launched one by one from Python they take longer to
start than to run. A captured pass reads a batch from the same memory each time and adds its gradients to the same
tensors. Only the plain losses over the vocabulary are captured; the others are computed as they are written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.contracts.tokens import IGNORED, Batch
from lamina.model.device import capturing
from lamina.model.layers.masks import needs_none
from lamina.model.train.compiled import is_compiled
from lamina.model.train.objectives import Aims, Counts, check_batch, token_loss
from lamina.model.transformer import Transformer

_MOST = 16  # forms of batches that are captured; others are computed as they are written
_WARM = 2  # passes before a capture: libraries choose their kernels, the compiler compiles
_STEPS = 16  # into which the number of places is divided: so many learned ones are filled up to
_log = logging.getLogger(__name__)
Arrays = Mapping[str, Any]


@dataclass(slots=True)
class _Captured:
    graph: Any
    given: dict[str, Tensor]
    learned: list[nn.Parameter]  # that got a gradient
    loss: Tensor


class Graphs:
    """Passes of ``model`` on its GPU for its ``aims``; ``cast`` is the context of a precision."""

    def __init__(self, model: Transformer, aims: Aims, cast: Callable[[str], AbstractContextManager[object]]) -> None:
        self._model, self._aims, self._cast = model, aims, cast
        self._captured: dict[Any, _Captured | None] = {}  # None: of this form no pass could be captured
        self._sums: dict[nn.Parameter, Tensor] = {}  # where captured passes add their gradients
        self._pool: Any = None
        self._works = True

    def backward(self, batch: Batch, counts: Counts, precision: str) -> Tensor | None:
        """Add the gradients of the batch's share of a step's loss; that share, which stands until the next call. None
        where such a batch is not captured: nothing was computed."""
        if not self._works or not _is_plain(batch) or self._aims.teacher is not None or _recomputes(self._model):
            return None
        check_batch(self._model, batch)
        arrays = _arrays(batch, counts, causal=self._model.spec.stack.causal)
        key = (precision, is_compiled(self._model), tuple((name, array.shape) for name, array in arrays.items()))
        if key not in self._captured and len(self._captured) < _MOST:
            self._captured[key] = self._try_capture(arrays, precision)
        captured = self._captured.get(key)
        if captured is None:
            return None
        self._attach(captured.learned)
        for name, array in arrays.items():
            captured.given[name].copy_(torch.from_numpy(array))
        captured.graph.replay()
        return captured.loss

    def forget(self, *, for_good: bool = False) -> bool:
        """Let go of all that was captured and of its memory. ``for_good``: capture nothing any more; whether that is
        news."""
        worked = self._works
        self._captured.clear()
        self._sums.clear()
        self._pool = None
        self._works &= not for_good
        return worked

    def _attach(self, learned: Sequence[nn.Parameter]) -> None:
        """Let the gradients lie where captured passes add theirs; those that there are go on."""
        fresh = [parameter for parameter in learned if parameter.grad is None]
        if fresh:
            torch._foreach_zero_([self._sums[parameter] for parameter in fresh])
        for parameter in learned:
            place = self._sums[parameter]
            if parameter.grad is not None and parameter.grad is not place:
                place.copy_(parameter.grad)
            parameter.grad = place

    def _try_capture(self, arrays: Arrays, precision: str) -> _Captured | None:
        try:
            with _untouched(self._model):
                return self._capture(arrays, precision)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # what cannot be captured is computed as it is written
            _log.warning("batches of this form go without a CUDA graph: %s", (str(error).splitlines() or [""])[0])
            return None

    def _capture(self, arrays: Arrays, precision: str) -> _Captured:
        device = self._model.stack.embeddings.token.weight.device
        given = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                for parameter in parameters:
                    parameter.grad = None
                self._pass(given, precision)
        torch.cuda.current_stream().wait_stream(stream)
        learned = [parameter for parameter in parameters if parameter.grad is not None]
        for parameter in learned:
            self._sums.setdefault(parameter, torch.zeros_like(parameter))
            parameter.grad = self._sums[parameter]
        graph = torch.cuda.CUDAGraph()
        with capturing, torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            loss = self._pass(given, precision)
        self._pool = self._pool or graph.pool()
        return _Captured(graph, given, learned, loss)

    def _pass(self, given: Mapping[str, Tensor], precision: str) -> Tensor:
        """Forward and backward."""
        with self._cast(precision):
            hidden = self._model(
                given["inputs"],
                positions=given["positions"],
                segments=given.get("segments"),
                kinds=given.get("kinds"),
                sources=given.get("sources"),
                source_segments=given.get("source_segments"),
                always_mask=True,
            )
            chosen = hidden.flatten(0, 1)[given["places"]]
            loss = token_loss(self._model, chosen, given["wanted"], self._aims) / given["count"]
        loss.backward()
        return loss.detach()


def _is_plain(batch: Batch) -> bool:
    """Whether it teaches tokens alone."""
    return batch.learned_tokens > 0 and batch.labels is None and batch.references is None


def _recomputes(model: Transformer) -> bool:
    """Whether it keeps the generator's state for the backward pass, which no capture can."""
    return any(stack is not None and stack.recompute for stack in (model.encoder, model.decoder))


def _arrays(batch: Batch, counts: Counts, *, causal: bool) -> dict[str, Any]:
    """What a captured pass reads. Learned places are filled up to a number that comes again."""
    targets = batch.targets.reshape(-1)
    places = np.flatnonzero(targets != IGNORED)
    step = max(1, targets.size // _STEPS)
    filled = np.zeros(-(-len(places) // step) * step, np.int64)
    wanted = np.full_like(filled, IGNORED)
    filled[: len(places)], wanted[: len(places)] = places, targets[places]
    arrays = {"inputs": batch.inputs, "positions": batch.positions, "places": filled, "wanted": wanted}
    arrays["count"] = np.asarray(counts.tokens, np.float32)
    for name in ("kinds", "sources", "source_segments"):
        if (given := getattr(batch, name)) is not None:
            arrays[name] = given
    if batch.sources is not None or not needs_none(batch.segments, causal):
        arrays["segments"] = batch.segments
    return arrays


@contextmanager
def _untouched(model: Transformer) -> Iterator[None]:
    """Whatever is tried inside, gradients and the generator are afterwards as they were."""
    device = model.stack.embeddings.token.weight.device
    before, random = [(parameter, parameter.grad) for parameter in model.parameters()], torch.cuda.get_rng_state(device)
    kept = [None if grad is None else grad.clone() for _, grad in before]
    try:
        yield
    finally:
        for (parameter, grad), values in zip(before, kept, strict=True):
            parameter.grad = grad
            if grad is not None and values is not None:
                grad.copy_(values)
        torch.cuda.set_rng_state(random, device)
