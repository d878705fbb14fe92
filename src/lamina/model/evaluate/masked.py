"""Masked language models asked for hidden tokens: their likelihoods, and how many they get right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lamina.kit.errors import ConfigError, InputError, TooLargeError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.evaluate.score import Asked, Score, mean_score, ratio_values
from lamina.model.evaluate.scoring import alike, at, device_of
from lamina.model.generate import padded
from lamina.model.transformer import Transformer

_BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Hidden:
    """Token ids of a text in its frame; those at ``places`` are hidden together. ``owner`` says whose they are."""

    ids: Sequence[int]
    places: tuple[int, ...]
    owner: int


def mask_id(tokenizer: ModelTokenizer) -> int:
    """The id that hides a token. Raises ``ConfigError`` where the tokenizer has none."""
    found = tokenizer.special_id("mask_token")
    if found is None:
        raise ConfigError("the tokenizer has no mask token, which a masked language model needs", where=tokenizer.where)
    return found


@torch.inference_mode()
def nats_of_hidden(model: Transformer, rows: Sequence[Hidden], mask: int) -> list[list[tuple[float, bool]]]:
    """-ln p (nats) of each hidden token given the rest of its row, and whether it is the best; by row and place."""
    found: list[list[tuple[float, bool]]] = [[] for _ in rows]
    device = device_of(model)
    for batch in alike([len(row.ids) for row in rows], _BATCH_TOKENS):
        ids, segments = padded([rows[n].ids for n in batch])
        targets = torch.full_like(ids, -1)
        for row, n in enumerate(batch):
            places = list(rows[n].places)
            targets[row, places] = ids[row, places]
            ids[row, places] = mask
        hidden = model(ids.to(device), segments=segments.to(device))
        nats, best = at(model, hidden, targets)
        told = iter(zip(nats.tolist(), best.tolist(), strict=True))
        for n in batch:
            found[n] = [next(told) for _ in rows[n].places]
    return found


def masked_accuracy(
    model: Transformer,
    tokenizer: ModelTokenizer,
    texts: Sequence[str],
    *,
    share: float = 0.15,
    seed: int = 0,
    name: str = "masked accuracy",
) -> Score:
    """The share of hidden tokens that the model finds: ``share`` of each text's, at least one, all hidden together.

    Each is replaced by the mask token (no other words are put in, as training does; Devlin et al. 2019, arXiv
    1810.04805). Which ones follows from ``seed`` and the text's place. The error is over texts. ``details``: the
    perplexity of the hidden tokens. Raises ``InputError`` for a text of no tokens, ``TooLargeError`` for one that does
    not fit.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"a share of {share} cannot be hidden", where=name)
    mask, longest = mask_id(tokenizer), model.spec.max_positions
    rows = []
    for n, ids in enumerate(tokenizer.encode_batch(list(texts))):
        if not ids:
            raise InputError("a text of no tokens has nothing to hide", where=f"{name}: item {n}")
        framed = tokenizer.frame.around([-1, *ids]).ids
        start = framed.index(-1)
        del framed[start]
        if len(framed) > longest:
            raise TooLargeError(f"{len(framed)} tokens, the model's context has {longest}", where=f"{name}: item {n}")
        count = max(1, round(share * len(ids)))
        places = np.random.default_rng((seed, n)).permutation(len(ids))[:count] + start
        rows.append(Hidden(framed, tuple(sorted(map(int, places))), n))
    found = nats_of_hidden(model, rows, mask)
    right, asked = [sum(best for _, best in row) for row in found], [len(row) for row in found]
    if not rows:
        raise InputError("there are no texts", where=name)
    nats = sum(n for row in found for n, _ in row)
    begin = " ".join("…" if i == -1 else tokenizer.token_of(i) or str(i) for i in tokenizer.frame.around((-1,)).ids)
    return mean_score(
        name,
        ratio_values(right, asked).tolist(),
        items=[str(share), str(seed), *texts],
        asked=Asked(
            template="the text alone", begin=begin, normalisation=f"{share:.0%} of the tokens hidden, seed {seed}"
        ),
        details={"tokens": float(sum(asked)), "perplexity": float(np.exp(nats / sum(asked)))},
    )
