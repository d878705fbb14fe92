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


@torch.inference_mode()
def score(model: Transformer, passages: Sequence[Passage]) -> list[float]:
    """The sum (nats) of each passage's scored tokens, all in one batch padded on the right."""
    device = model.stack.embeddings.token.weight.device
    longest = max(len(p.ids) for p in passages) - 1
    inputs = torch.zeros(len(passages), longest, dtype=torch.int64)
    targets = torch.full((len(passages), longest), -1, dtype=torch.int64)
    for row, passage in enumerate(passages):
        ids = torch.as_tensor(passage.ids, dtype=torch.int64)
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, passage.start - 1 : len(ids) - 1] = ids[passage.start :]
    hidden = model(inputs.to(device))  # padding comes after all real tokens: a causal model never looks at it
    scored = targets >= 0
    rows = scored.nonzero()[:, 0]
    nats = _nll(model, hidden[scored.to(device)], targets[scored].to(device))
    return torch.zeros(len(passages), dtype=torch.float64).index_add_(0, rows, nats.double().cpu()).tolist()


def _nll(model: Transformer, hidden: Tensor, targets: Tensor) -> Tensor:
    """-log p (nats, float32) of ``targets`` (N,) at the states ``hidden`` (N, D)."""
    rows = max(1, _CHUNK_ELEMENTS // model.spec.stack.embeddings.vocabulary)
    out = []
    for part, wanted in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = model.logits(part).float()
        out.append(torch.logsumexp(logits, dim=1) - logits.gather(1, wanted[:, None])[:, 0])
    return torch.cat(out) if out else hidden.new_zeros(0)


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
