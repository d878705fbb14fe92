"""Text from a model, token by token: the plain loops that an engine must agree with, and that evaluation uses.

Greedy search and drawing by a decoder alone; what an encoder-decoder says is in ``search``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamina.kit.errors import ConfigError
from lamina.model.layers.cache import KeyValueCache
from lamina.model.transformer import Transformer

_PADDED = 0  # the id that stands where no token is; masks hide it


@torch.inference_mode()
def greedy(
    model: Transformer,
    prompt: Sequence[int],
    *,
    end: Sequence[int],
    max_tokens: int,
    stop: Callable[[list[int]], bool] | None = None,
    choose: Callable[[Tensor], int] | None = None,
) -> list[int]:
    """The likeliest next token, again and again, after ``prompt`` (a decoder alone); without the ``end`` token.

    ``stop``: asked after each token whether what was found is enough. ``choose``: another rule than the likeliest, of
    the scores (V,) of the next token.
    """
    if not prompt:
        raise ConfigError("a prompt of no tokens", where="greedy")
    device = model.stack.embeddings.token.weight.device
    cache, ids, found = KeyValueCache(), torch.tensor([list(prompt)], device=device), []
    for _ in range(max_tokens):
        scores = model.logits(model(ids, cache=cache)[0, -1])
        token = int(scores.argmax()) if choose is None else choose(scores)
        if token in end:
            break
        found.append(token)
        if stop is not None and stop(found):
            break
        ids = torch.tensor([[token]], device=device)
    return found


def drawn(seed: int, *, temperature: float = 0.8, among: int = 50) -> Callable[[Tensor], int]:
    """A rule for ``greedy``: one of the ``among`` likeliest tokens by chance (Fan et al. 2018, arXiv 1805.04833).

    It draws from a generator of its own, so that the same weights write the same text after the same ``seed``.
    """
    generator = torch.Generator().manual_seed(seed)

    def choose(scores: Tensor) -> int:
        best, tokens = scores.float().cpu().topk(min(among, scores.shape[-1]))
        return int(tokens[torch.multinomial((best / temperature).softmax(-1), 1, generator=generator)])

    return choose


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and segments (N, T) int64 of rows of tokens, padded on the right."""
    longest = max(1, *(len(row) for row in rows))
    ids = torch.full((len(rows), longest), _PADDED)
    segments = torch.zeros((len(rows), longest), dtype=torch.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
        segments[n, : len(row)] = 1
    return ids, segments
