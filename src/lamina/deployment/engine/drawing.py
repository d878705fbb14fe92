"""The next tokens of several sequences at once: one by one on a processor, together on a GPU.

On a GPU each small operation costs a launch and each look at a number waits for all of them, so rows are sorted, cut
and drawn from together, and one transfer brings the outcome. The numbers that are drawn with are the same on both
sides (``sampling.uniform``); rounding may make another token of them where two lie within it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamina.deployment.engine.native import scores as scores_of
from lamina.deployment.engine.sampling import Drawn, Sampler, uniform
from lamina.kit.errors import LaminaError
from lamina.model.device import triton_kernels

_KERNELS = "lamina.deployment.engine.gpu.drawing"
_FEW = 1024  # likeliest tokens that top-k and top-p mostly choose from
Adjust = Callable[[Tensor], Tensor] | None


def draw_together(
    scores: Tensor, samplers: Sequence[Sampler], places: Sequence[int], adjusts: Sequence[Adjust] = ()
) -> list[Drawn | Exception]:
    """For each row of ``scores`` (B, V) float32 the token at its place in its sequence, or what went wrong with it.

    ``adjusts``, one a row or none at all, change what is drawn from.
    """
    adjusts = adjusts or [None] * len(samplers)
    if scores.is_cpu:
        array = scores.numpy()  # whose rows cost less than those of a tensor
        rows = zip(array, samplers, places, adjusts, scores_of.summarize(array), strict=True)
        return [_draw(*row) for row in rows]
    return draw_at_once(scores, samplers, places, adjusts)


@torch.inference_mode()
def draw_at_once(
    scores: Tensor, samplers: Sequence[Sampler], places: Sequence[int], adjusts: Sequence[Adjust]
) -> list[Drawn | Exception]:
    """``draw_together`` with few and large operations, whatever the device."""
    facts, own = summarize(scores), scores
    scores, failed = _adjusted(scores, adjusts)
    warm = [number for number, sampler in enumerate(samplers) if sampler.temperature > 0]
    if warm or scores is not own:
        tokens = facts[:, 0].long() if scores is own else scores.argmax(dim=-1)
        if warm:
            rows = slice(None) if len(warm) == len(samplers) else torch.tensor(warm, device=scores.device)
            tokens[rows] = _sample(scores[rows], [samplers[n] for n in warm], [places[n] for n in warm])
        if scores is not own:  # where nothing is possible, what was drawn is nothing
            facts[:, 3].masked_fill_(scores.amax(dim=-1) == -torch.inf, torch.nan)
        facts[:, 0] = tokens
        facts[:, 1] = own.gather(1, tokens[:, None])[:, 0] - facts[:, 3]
    most = max((sampler.logprobs or 0 for sampler in samplers), default=0)
    likely: list[list[tuple[int, float]]] = [[] for _ in samplers]
    if most:
        values, ids = own.topk(most, dim=-1)
        values = values - facts[:, 3:]
        likely = [list(zip(i, v, strict=True)) for i, v in zip(ids.tolist(), values.tolist(), strict=True)]
    return [
        failed.get(number) or _told(fact, None if sampler.logprobs is None else tuple(top[: sampler.logprobs]))
        for number, (fact, sampler, top) in enumerate(zip(facts.tolist(), samplers, likely, strict=True))
    ]


def summarize(scores: Tensor) -> Tensor:
    """Of each row of ``scores`` (B, V) float32, (B, 4): its likeliest token (up to 2^24 they are whole in float32),
    that one's log-probability, the entropy (nats), and the logarithm of the sum of all exponentials."""
    kernels = triton_kernels(_KERNELS) if scores.is_cuda else None
    if kernels is not None:
        out: Tensor = kernels.summarize(scores)
        return out
    whole = scores.logsumexp(dim=-1)
    logprobs = scores - whole[:, None]
    entropy = -(logprobs.exp() * logprobs.clamp(min=-1e30)).sum(dim=-1)
    peak, token = logprobs.max(dim=-1)
    return torch.stack([token.to(scores.dtype), peak, entropy, whole], dim=1)


def _adjusted(scores: Tensor, adjusts: Sequence[Adjust]) -> tuple[Tensor, dict[int, Exception]]:
    """The scores to draw from, and the rows that failed."""
    failed: dict[int, Exception] = {}
    if any(adjusts):
        scores = scores.clone()
    for number, adjust in enumerate(adjusts):
        if adjust is None:
            continue
        try:
            scores[number] = adjust(scores[number])
        except Exception as error:  # this row's alone
            failed[number] = error
    return scores, failed


def _draw(
    row: scores_of.Scores, sampler: Sampler, place: int, adjust: Adjust, facts: scores_of.Facts
) -> Drawn | Exception:
    try:
        return sampler.draw(row, place, adjust, facts)
    except Exception as error:  # this row's alone
        return error


def _told(fact: Sequence[float], top: tuple[tuple[int, float], ...] | None) -> Drawn | Exception:
    token, logprob, entropy, whole = fact
    if entropy != entropy:
        return LaminaError("the model's scores are not numbers", where="sampling")
    if whole != whole:
        return LaminaError("no token is possible here", where="sampling")
    return Drawn(int(token), logprob, entropy, top)


def _sample(scores: Tensor, samplers: Sequence[Sampler], places: Sequence[int]) -> Tensor:
    """A token (B,) for each row by its temperature, top-k, top-p and min-p, as ``Sampler`` has them."""
    width = scores.shape[1]
    given = [
        (s.temperature, s.top_p, float(min(s.top_k or width, width)), uniform(s.seed, place), s.min_p)
        for s, place in zip(samplers, places, strict=True)
    ]
    numbers = torch.tensor(given, dtype=torch.float64, device=scores.device)
    kernels = triton_kernels(_KERNELS) if scores.is_cuda else None
    if kernels is not None:
        tokens: Tensor = kernels.draw(scores, numbers)
        return tokens
    shares = torch.softmax(scores / numbers[:, :1].float(), dim=-1)
    cut = [number for number, s in enumerate(samplers) if s.top_k is not None or s.top_p < 1.0]
    if not cut:
        return _among_all(shares, numbers)
    if len(cut) == len(samplers):
        return _among_likeliest(shares, numbers)
    rows = torch.tensor(cut, device=scores.device)
    tokens = _among_all(shares, numbers)
    tokens[rows] = _among_likeliest(shares[rows], numbers[rows])
    return tokens


def _among_all(shares: Tensor, numbers: Tensor) -> Tensor:
    """Tokens (B,) in the order of the vocabulary, but for those whose share min-p excludes."""
    least = numbers[:, 4:].float() * shares.amax(dim=-1, keepdim=True)
    mass = shares.masked_fill(shares < least, 0.0).double().cumsum(dim=-1)
    return _first_above(mass, mass[:, -1:], numbers[:, 3:4])


def _among_likeliest(shares: Tensor, numbers: Tensor) -> Tensor:
    """Tokens (B,) of those that top-k, top-p and min-p leave, the likeliest first. Few of them are nearly always
    enough, and the whole vocabulary is sorted only where they are not."""
    width = shares.shape[1]
    if width > _FEW:
        tokens, enough = _among(*shares.topk(_FEW, dim=-1), shares, numbers)
        if bool(enough.all()):
            return tokens
    return _among(*shares.sort(dim=-1, descending=True, stable=True), shares, numbers)[0]


def _among(values: Tensor, order: Tensor, shares: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B,) of the likeliest ones, whose shares are ``values`` (B, n), and whether n are ``enough`` (B,)."""
    few, width = values.shape[1], shares.shape[1]
    _, top_p, top_k, number, min_p = (column[:, None] for column in numbers.T)
    mass = values.double().cumsum(dim=-1)
    first = top_k.long().clamp(max=few)  # tokens that top-k leaves
    whole = torch.where(top_k < width, mass.gather(1, first - 1), shares.sum(dim=-1, keepdim=True, dtype=torch.float64))
    # A token stays while the likelier ones together have less than top_p (Holtzman et al. 2020).
    nucleus = 1 + (mass[:, :-1] < top_p * whole).sum(dim=1, keepdim=True)
    kept = torch.where(top_p < 1.0, torch.minimum(nucleus, first), first)
    enough = (top_k <= few) | ((top_k == width) & (top_p < 1.0) & (mass[:, -1:] >= top_p * whole))
    kept = torch.minimum(kept, (values.double() >= min_p * values[:, :1]).sum(dim=1, keepdim=True))
    kept = kept.clamp(min=1)  # where scores are no numbers nothing was kept; that is told by their entropy
    place = _first_above(mass, mass.gather(1, kept - 1), number)[:, None]
    return order.gather(1, torch.minimum(place, kept - 1))[:, 0], enough[:, 0]


def _first_above(mass: Tensor, whole: Tensor, number: Tensor) -> Tensor:
    """The first places (B,) whose cumulative ``mass`` (B, n) exceeds ``number`` (B, 1) of the ``whole`` (B, 1)."""
    value = torch.minimum(whole * number, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(mass, value, right=True)[:, 0].clamp(max=mass.shape[1] - 1)
