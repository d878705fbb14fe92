"""How far a model has moved from its parent: on the same texts, token by token, what both expect next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.contracts.tokens import Tokenizer
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import Progress
from lamina.kit.statistics import standard_error
from lamina.model.evaluate.bits_per_byte import windows
from lamina.model.evaluate.score import ratio_values
from lamina.model.evaluate.scoring import Passage, batches, device_of
from lamina.model.transformer import Transformer

_BATCH_TOKENS = 2048
_CHUNK_ELEMENTS = 1 << 23  # scores of either model that exist at a time: 32 MiB in float32


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """Of a model from its parent on texts. ``kl``: mean of Σ p ln(p / q) nats a token, p the parent's expectation;
    ``agreement``: share of the places where both find the same token likeliest; with one standard error over texts.

    ``bits_per_byte``, ``perplexity`` (of tokens) of the model, and the parent's; ``change``: the ratio of the bits per
    byte, less one, with its error over texts: 0.01 is one per cent more.
    """

    kl: float
    kl_error: float
    agreement: float
    agreement_error: float
    bits_per_byte: float
    parent_bits_per_byte: float
    perplexity: float
    parent_perplexity: float
    change: float
    change_error: float
    tokens: int
    texts: int


def divergence(
    model: Transformer,
    parent: Transformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    window: int = 2048,
    stride: int = 1024,
    name: str = "agreement with the parent",
    progress: Progress | None = None,
) -> Divergence:
    """Compare ``model`` with ``parent``, of the same vocabulary, on two ``texts`` at least; windows as in
    ``bits_per_byte``. Raises ``InputError`` where vocabularies differ, ``ConfigError`` where there is no text.
    """
    sizes = {m.spec.stack.embeddings.vocabulary for m in (model, parent)}
    if len(sizes) > 1:
        raise InputError(f"models of {min(sizes):,} and {max(sizes):,} tokens cannot be compared token by token")
    window = min(window, model.spec.max_positions, parent.spec.max_positions)
    encoded = [[tokenizer.end_ids[0], *ids] for ids in tokenizer.encode_batch(list(texts))]
    passages = [p for n, ids in enumerate(encoded) for p in windows(ids, n, window, min(stride, window))]
    total = sum(len(p.ids) - p.start for p in passages)
    if not total:
        raise ConfigError("there is no text to measure", where=name)
    sums = torch.zeros(len(texts), 5, dtype=torch.float64)  # nats of both, KL, agreements, tokens
    work = batches(passages, max(_BATCH_TOKENS, window))
    if progress is None:
        for batch in work:
            _add(sums, model, parent, batch)
        return _of(sums, texts)
    with progress.task(name, total=total, unit="tokens") as task:
        for batch in work:
            task.advance(_add(sums, model, parent, batch))
    return _of(sums, texts)


@torch.inference_mode()
def _add(sums: Tensor, model: Transformer, parent: Transformer, batch: Sequence[Passage]) -> int:
    """Add up a batch by the texts that its passages are of; the number of tokens."""
    longest = max(len(p.ids) for p in batch) - 1
    inputs = torch.zeros(len(batch), longest, dtype=torch.int64)
    targets = torch.full((len(batch), longest), -1, dtype=torch.int64)
    for row, passage in enumerate(batch):
        ids = torch.as_tensor(passage.ids, dtype=torch.int64)
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, passage.start - 1 : len(ids) - 1] = ids[passage.start :]
    scored = targets >= 0
    owners = torch.tensor([p.owner for p in batch])[scored.nonzero()[:, 0]]
    both = [model] if model is parent else [model, parent]
    hidden = [m(inputs.to(device_of(m)))[scored.to(device_of(m))] for m in both]
    rows = max(1, _CHUNK_ELEMENTS // model.spec.stack.embeddings.vocabulary)
    for wanted, owner, ours, theirs in zip(
        targets[scored].split(rows), owners.split(rows), hidden[0].split(rows), hidden[-1].split(rows), strict=True
    ):
        q = torch.log_softmax(model.logits(ours).float(), dim=-1).cpu()
        p = q if model is parent else torch.log_softmax(parent.logits(theirs).float(), dim=-1).cpu()
        found = [
            *(-x.gather(1, wanted[:, None])[:, 0] for x in (q, p)),
            (p.exp() * (p - q)).sum(dim=1),
            (p.argmax(dim=1) == q.argmax(dim=1)),
            torch.ones(len(wanted)),
        ]
        sums.index_add_(0, owner, torch.stack([f.double() for f in found], dim=1))
    return int(scored.sum())


def _of(sums: Tensor, texts: Sequence[str]) -> Divergence:
    nats, parents, kl, same, tokens = sums.numpy().T
    sizes = [len(text.encode()) for text in texts]
    by_text = range(len(texts))

    def error(above: NDArray[np.float64], below: NDArray[np.float64]) -> float:
        return standard_error(ratio_values(above, below), by_text)

    return Divergence(
        kl=float(kl.sum() / tokens.sum()),
        kl_error=error(kl, tokens),
        agreement=float(same.sum() / tokens.sum()),
        agreement_error=error(same, tokens),
        bits_per_byte=float(nats.sum()) / math.log(2) / sum(sizes),
        parent_bits_per_byte=float(parents.sum()) / math.log(2) / sum(sizes),
        perplexity=math.exp(nats.sum() / tokens.sum()),
        parent_perplexity=math.exp(parents.sum() / tokens.sum()),
        change=float(nats.sum() / parents.sum()) - 1.0,
        change_error=error(nats, parents),
        tokens=int(tokens.sum()),
        texts=len(texts),
    )
