"""Learning from preferences without a reward model: DPO on pairs, KTO on single judged answers.

Both compare how likely an answer is to the model and to the reference that it started as. The reference's
log-probabilities never change: they are computed once and kept on disk (``ReferenceLogs``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.contracts.tokens import IGNORED
from lamina.kit.durable import atomic_write
from lamina.kit.errors import InputError
from lamina.model.transformer import Transformer

_CHUNK_ELEMENTS = 1 << 24  # logits that exist at a time: 64 MiB in float32


class _TokenLosses(torch.autograd.Function):
    """-log softmax(hidden @ weight.T)[target] of each row, in chunks; the scores are computed again for gradients."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight, targets)
        out = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        for rows in _chunks(hidden.shape[0], weight.shape[0]):
            scores = F.linear(hidden[rows], weight).float()
            out[rows] = torch.logsumexp(scores, dim=1) - scores.gather(1, targets[rows, None])[:, 0]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden, weight, targets = ctx.saved_tensors
        want_hidden, want_weight, _ = ctx.needs_input_grad
        to_hidden = torch.empty_like(hidden) if want_hidden else None
        to_weight = torch.zeros_like(weight) if want_weight else None
        for rows in _chunks(hidden.shape[0], weight.shape[0]):
            scores = F.linear(hidden[rows], weight).float().softmax(dim=1)
            scores.scatter_add_(1, targets[rows, None], scores.new_full((scores.shape[0], 1), -1.0))
            scores = scores.mul_(grads[0][rows, None]).to(weight.dtype)
            if to_hidden is not None:
                to_hidden[rows] = torch.mm(scores, weight)
            if to_weight is not None:
                to_weight += torch.mm(scores.T, hidden[rows].to(weight.dtype))
        return to_hidden, to_weight, None


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    step = max(1, _CHUNK_ELEMENTS // vocabulary)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def answer_log_probabilities(model: Transformer, inputs: Tensor, targets: Tensor, segments: Tensor) -> Tensor:
    """The log-probability (nats) of each row's learned tokens, (B,) float32, one answer a row.

    ``inputs``, ``targets`` (``IGNORED`` where a token is not the answer's) and ``segments`` (B, T) int64.
    """
    hidden = model(inputs, segments=segments)
    learned = targets != IGNORED
    head: Any = model.head
    chosen, wanted = hidden[learned], targets[learned]
    plain = type(head).forward is nn.Linear.forward or hasattr(head, "prepare")
    if plain and head.bias is None:
        chosen = head.prepare(chosen) if hasattr(head, "prepare") else chosen
        losses: Tensor = _TokenLosses.apply(chosen, head.weight, wanted)
    else:  # an adapted head, or one with a bias: its scores are no single product
        losses = F.cross_entropy(head(chosen).float(), wanted, reduction="none")
    return -torch.zeros(len(inputs), device=inputs.device).index_add(0, learned.nonzero()[:, 0], losses)


@dataclass(frozen=True, slots=True)
class Preference:
    """A loss (nats, summed over its rows or pairs), of how many, and how often what was preferred is the likelier."""

    loss: Tensor
    count: int
    right: int


def dpo_loss(policy: Tensor, reference: Tensor, *, beta: float = 0.1, smoothing: float = 0.0) -> Preference:
    """Direct preference optimisation (arXiv 2305.18290, eq. 7): rows 2i are preferred to rows 2i + 1.

    ``policy`` and ``reference`` (2P,): log-probabilities of answers. ``smoothing``: the share of pairs that are taken
    to be the wrong way round (Mitchell 2023, conservative DPO).
    """
    if policy.shape[0] % 2:
        raise InputError(f"{policy.shape[0]} answers are no pairs", where="dpo")
    gains = policy - reference
    margins = beta * (gains[0::2] - gains[1::2])
    loss = -(1 - smoothing) * F.logsigmoid(margins) - smoothing * F.logsigmoid(-margins)
    return Preference(loss.sum(), margins.shape[0], int((margins > 0).sum()))


def kto_loss(
    policy: Tensor,
    reference: Tensor,
    wanted: Tensor,
    baseline: Tensor,
    *,
    beta: float = 0.1,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Preference:
    """Kahneman-Tversky optimisation (arXiv 2402.01306, eq. 8): ``wanted`` (B,) bool says which answers were good.

    ``baseline``: the estimate of the divergence from the reference (``divergence``), that gains are seen against.
    ``weights``: of good and of bad answers, to balance them where one kind is rare.
    """
    gains = beta * (policy - reference - baseline)
    value = torch.sigmoid(torch.where(wanted, gains, -gains))
    weight = torch.where(wanted, torch.full_like(gains, weights[0]), torch.full_like(gains, weights[1]))
    right = ((policy - reference > baseline) == wanted).sum()
    return Preference((weight * (1 - value)).sum(), policy.shape[0], int(right))


@torch.no_grad()
def divergence(policy: Tensor, reference: Tensor) -> Tensor:
    """KTO's baseline: the mean of log-ratios of answers to *other* prompts, at least 0 (arXiv 2402.01306, 4.1)."""
    return (policy - reference).mean().clamp(min=0.0)


class ReferenceLogs:
    """Log-probabilities of answers by the reference model, kept in ``folder`` under the digest of model and rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, model: Transformer, rows: str, compute: Callable[[], Sequence[float]]) -> NDArray[np.float64]:
        """Those of the ``rows`` (their digest) by ``model``; ``compute`` makes them where they are not kept yet."""
        key = blake3(f"{weights_digest(model)}\n{rows}".encode()).hexdigest(length=16)
        path = self._folder / f"{key}.json"
        if path.is_file():
            return np.array(json.loads(path.read_bytes()), np.float64)
        found = np.array(compute(), np.float64)
        if not np.isfinite(found).all():
            raise InputError("the reference gives an answer no finite log-probability", where="model.train")
        self._folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(found.tolist()).encode())  # Python writes floats so that they read back the same
        return found


def weights_digest(model: Transformer) -> str:
    """Of a model's specification and weights: another for any change of them."""
    total = blake3(json.dumps(model.spec.to_json(), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(memoryview(raw))
    return total.hexdigest()
