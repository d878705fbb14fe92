"""Negative log-likelihoods of chosen tokens, with the head computed nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.model.transformer import Transformer

_CHUNK_ELEMENTS = 1 << 24  # logits that exist at a time: 64 MiB in float32


@dataclass(frozen=True, slots=True)
class Passage:
    """Token ids; those from ``start`` on are scored, each given all before it. ``owner`` says whose they are."""

    ids: Sequence[int]
    start: int
    owner: int


def score(model: Transformer, passages: Sequence[Passage]) -> list[float]:
    """The sum (nats) of each passage's scored tokens, all in one batch padded on the right."""
    return [nats for nats, _ in judge(model, passages)]


@torch.inference_mode()
def judge(model: Transformer, passages: Sequence[Passage]) -> list[tuple[float, bool]]:
    """As ``score``, and whether each scored token is the likeliest in its place (greedy search would write them)."""
    longest = max(len(p.ids) for p in passages) - 1
    inputs = torch.zeros(len(passages), longest, dtype=torch.int64)
    targets = torch.full((len(passages), longest), -1, dtype=torch.int64)
    for row, passage in enumerate(passages):
        ids = torch.as_tensor(passage.ids, dtype=torch.int64)
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, passage.start - 1 : len(ids) - 1] = ids[passage.start :]
    hidden = model(inputs.to(device_of(model)))  # padding comes after all real tokens: a causal model never looks at it
    return by_row(model, hidden, targets)


def by_row(model: Transformer, hidden: Tensor, targets: Tensor) -> list[tuple[float, bool]]:
    """Σ -ln p (nats) of the ``targets`` (B, T) of each row, -1 = none, at the states ``hidden`` (B, T, D); and whether
    each of them is the likeliest."""
    rows = (targets >= 0).nonzero()[:, 0]
    nats, best = at(model, hidden, targets)
    count = len(targets)
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, rows, nats)
    missed = torch.zeros(count, dtype=torch.int64).index_add_(0, rows, (~best).long())
    return [(total, not misses) for total, misses in zip(sums.tolist(), missed.tolist(), strict=True)]


def at(model: Transformer, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-ln p (nats, float64) of each target that is not -1, in order, and whether it is the likeliest: both (N,)."""
    scored, device = targets >= 0, hidden.device
    return _nll(model, hidden[scored.to(device)], targets[scored].to(device))


def device_of(model: Transformer) -> torch.device:
    """Where the model's weights lie."""
    found: torch.device = model.stack.embeddings.token.weight.device
    return found


def _nll(model: Transformer, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-ln p (nats) of ``targets`` (N,) at ``hidden`` (N, D), computed in float32, and whether each is the best."""
    rows = max(1, _CHUNK_ELEMENTS // model.spec.stack.embeddings.vocabulary)
    nats, best = [hidden.new_zeros(0, dtype=torch.float32)], [targets.new_zeros(0, dtype=torch.bool)]
    for part, wanted in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = model.logits(part).float()
        own = logits.gather(1, wanted[:, None])[:, 0]
        nats.append(torch.logsumexp(logits, dim=1) - own)
        best.append(own >= logits.amax(dim=1))
    return torch.cat(nats).double().cpu(), torch.cat(best).cpu()


def batches(passages: Sequence[Passage], tokens: int) -> list[list[Passage]]:
    """The passages in batches of like length and at most ``tokens`` tokens (padding included), the longest first."""
    return [[passages[n] for n in some] for some in alike([len(p.ids) for p in passages], tokens)]


def alike(sizes: Sequence[int], tokens: int) -> list[list[int]]:
    """Numbers of rows of these ``sizes`` that are computed together: at most ``tokens`` tokens with their padding, or
    one row; the longest first, so that little is padding."""
    out: list[list[int]] = []
    for n in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
        if out and (len(out[-1]) + 1) * sizes[out[-1][0]] <= tokens:
            out[-1].append(n)
        else:
            out.append([n])
    return out
