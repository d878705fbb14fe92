"""Text from a model, token by token: the plain loops that an engine must agree with, and that evaluation uses.

Greedy search, and beam search with length normalisation (Wu et al. 2016, arXiv 1609.08144, without coverage).
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


@torch.inference_mode()
def translate(
    model: Transformer,
    sources: Sequence[Sequence[int]],
    *,
    end: int,
    max_tokens: int,
    beams: int = 1,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """What an encoder-decoder makes of each of ``sources`` (token ids), without start and end tokens.

    ``beams``: hypotheses kept of each; 1 is greedy search. A hypothesis' score is its log-probability divided by
    its length ** ``length_penalty``. Several sources are computed at once; none changes what another becomes.
    """
    start = model.spec.start_token
    if model.encoder is None or model.decoder is None or start is None:
        raise ConfigError("only a model with an encoder and a decoder translates", where="translate")
    if not sources:
        return []
    ids, segments = padded(sources)
    source = model.encode(ids, segments=segments)
    count = len(sources)
    search = _Beams(count, beams, end, length_penalty)
    rows = torch.arange(count).repeat_interleave(beams)
    source, segments, cache = source[rows], segments[rows], KeyValueCache()
    tokens = torch.full((count * beams, 1), start)
    for step in range(max_tokens):
        hidden = model(tokens, source=source, source_segments=segments, cache=cache)
        scores = model.logits(hidden[:, -1]).float().log_softmax(-1)
        if step == max_tokens - 1:
            scores = _only(scores, end)
        order, tokens = search.advance(scores)
        if search.done:
            break
        cache.select(order)
    return search.best()


class _Beams:
    """The hypotheses of each source: those that go on, and the finished ones."""

    def __init__(self, count: int, beams: int, end: int, penalty: float) -> None:
        self._count, self._beams, self._end, self._penalty = count, beams, end, penalty
        self._scores = torch.full((count, beams), -torch.inf)
        self._scores[:, 0] = 0.0  # all beams start alike: only the first counts
        self._going: list[list[list[int]]] = [[[] for _ in range(beams)] for _ in range(count)]
        self._ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]

    @property
    def done(self) -> bool:
        """Whether no source can get a better hypothesis than it has."""
        return all(self._settled(n) for n in range(self._count))

    def advance(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Take the log-probabilities (N · beams, V) of every next token.

        Returns which rows go on (N · beams,), and with which tokens (N · beams, 1).
        """
        vocabulary = scores.shape[-1]
        totals = (self._scores.flatten()[:, None] + scores).view(self._count, -1)
        best, places = totals.topk(2 * self._beams, dim=-1)  # twice, so that enough go on where all others end
        order, tokens = [], []
        for n in range(self._count):
            going: list[tuple[float, int, int]] = []
            for total, place in zip(best[n].tolist(), places[n].tolist(), strict=True):
                beam, token = divmod(place, vocabulary)
                if total == -float("inf"):
                    continue
                if token == self._end:
                    if len(going) < self._beams:
                        said = self._going[n][beam]
                        self._ended[n].append((total / max(1, len(said) + 1) ** self._penalty, said))
                elif len(going) < self._beams:
                    going.append((total, beam, token))
            self._go_on(n, going)
            going += [(-float("inf"), 0, self._end)] * (self._beams - len(going))
            order += [n * self._beams + beam for _, beam, _ in going]
            tokens += [token for _, _, token in going]
        return torch.tensor(order), torch.tensor(tokens)[:, None]

    def best(self) -> list[list[int]]:
        """The best hypothesis of each source."""
        return [max(ended)[1] if ended else going[0] for ended, going in zip(self._ended, self._going, strict=True)]

    def _go_on(self, n: int, going: list[tuple[float, int, int]]) -> None:
        before = self._going[n]
        self._going[n] = [[*before[beam], token] for _, beam, token in going]
        self._going[n] += [[] for _ in range(self._beams - len(going))]
        self._scores[n] = -torch.inf
        self._scores[n, : len(going)] = torch.tensor([total for total, _, _ in going])

    def _settled(self, n: int) -> bool:
        """Whether the best that goes on cannot catch up, as it stands."""
        if len(self._ended[n]) < self._beams:
            return not torch.isfinite(self._scores[n]).any()
        length = len(self._going[n][0]) + 1
        return max(self._ended[n])[0] >= float(self._scores[n].max()) / length**self._penalty


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and segments (N, T) int64 of rows of tokens, padded on the right."""
    longest = max(1, *(len(row) for row in rows))
    ids = torch.full((len(rows), longest), _PADDED)
    segments = torch.zeros((len(rows), longest), dtype=torch.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
        segments[n, : len(row)] = 1
    return ids, segments


def _only(scores: Tensor, token: int) -> Tensor:
    """Log-probabilities (N, V) with which nothing but ``token`` can follow."""
    allowed = torch.full_like(scores, -torch.inf)
    allowed[:, token] = scores[:, token]
    return allowed
