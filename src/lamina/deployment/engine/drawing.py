"""The next tokens of several sequences at once: one by one on a processor, together on a GPU.

On a GPU each small operation costs a launch and each look at a number waits for all of them, so rows are sorted, cut
and drawn from together, and one transfer brings the outcome. The numbers that are drawn with are the same on both
sides (``sampling.uniform``); rounding may make another token of them where two lie within it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lamina.deployment.engine.sampling import Drawn, Sampler, uniform
from lamina.kit.errors import LaminaError

Adjust = Callable[[Tensor], Tensor] | None


@torch.inference_mode()
def draw_together(
    scores: Tensor, samplers: Sequence[Sampler], places: Sequence[int], adjusts: Sequence[Adjust] = ()
) -> list[Drawn | Exception]:
    """For each row of ``scores`` (B, V) float32 the token at its place in its sequence, or what went wrong with it.

    ``adjusts``, one a row or none at all, change what is drawn from.
    """
    adjusts = adjusts or [None] * len(samplers)
    if scores.device.type == "cpu":
        rows = zip(scores, samplers, places, adjusts, strict=True)
        return [_draw(row, sampler, place, adjust) for row, sampler, place, adjust in rows]
    return draw_at_once(scores, samplers, places, adjusts)


def draw_at_once(
    scores: Tensor, samplers: Sequence[Sampler], places: Sequence[int], adjusts: Sequence[Adjust]
) -> list[Drawn | Exception]:
    """``draw_together`` with few and large operations, whatever the device."""
    logprobs = torch.log_softmax(scores, dim=-1)
    entropies = -(logprobs.exp() * logprobs.clamp(min=-1e30)).sum(dim=-1)
    scores, failed = _adjusted(scores, adjusts)
    tokens = scores.argmax(dim=-1)
    if any(sampler.temperature > 0 for sampler in samplers):
        tokens = torch.where(_hot(samplers, scores.device), _sample(scores, samplers, places), tokens)
    chosen = logprobs.gather(1, tokens[:, None])[:, 0]
    facts = torch.stack([tokens.double(), chosen.double(), entropies.double()], dim=1).tolist()
    most = max((sampler.logprobs or 0 for sampler in samplers), default=0)
    likely: list[list[tuple[int, float]]] = [[] for _ in samplers]
    if most:
        values, ids = logprobs.topk(most, dim=-1)
        likely = [list(zip(i, v, strict=True)) for i, v in zip(ids.tolist(), values.tolist(), strict=True)]
    return [
        failed.get(number) or _told(fact, None if sampler.logprobs is None else tuple(top[: sampler.logprobs]))
        for number, (fact, sampler, top) in enumerate(zip(facts, samplers, likely, strict=True))
    ]


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


def _draw(row: Tensor, sampler: Sampler, place: int, adjust: Adjust) -> Drawn | Exception:
    try:
        return sampler.draw(row, place, adjust)
    except Exception as error:  # this row's alone
        return error


def _told(fact: Sequence[float], top: tuple[tuple[int, float], ...] | None) -> Drawn | Exception:
    token, logprob, entropy = fact
    if entropy != entropy:
        return LaminaError("the model's scores are not numbers", where="sampling")
    return Drawn(int(token), logprob, entropy, top)


def _hot(samplers: Sequence[Sampler], device: torch.device) -> Tensor:
    return torch.tensor([sampler.temperature > 0 for sampler in samplers], device=device)


def _sample(scores: Tensor, samplers: Sequence[Sampler], places: Sequence[int]) -> Tensor:
    """A token (B,) for each row by its temperature, top-k, top-p and min-p, as ``Sampler`` has them."""
    width = scores.shape[1]
    given = [
        (s.temperature or 1.0, s.top_p, float(min(s.top_k or width, width)), uniform(s.seed, place), s.min_p)
        for s, place in zip(samplers, places, strict=True)
    ]
    temperature, top_p, top_k, number, min_p = torch.tensor(given, dtype=torch.float64, device=scores.device).T
    shares = torch.softmax(scores / temperature[:, None].float(), dim=-1)
    values, order = shares.sort(dim=-1, descending=True, stable=True)
    mass = values.double().cumsum(dim=-1)
    first = top_k.long()[:, None]  # tokens that top-k leaves
    whole = mass.gather(1, first - 1)
    # A token stays while the likelier ones together have less than top_p (Holtzman et al. 2020).
    nucleus = 1 + (mass[:, :-1] < top_p[:, None] * whole).sum(dim=1, keepdim=True)
    kept = torch.where(top_p[:, None] < 1.0, torch.minimum(nucleus, first), first)
    kept = torch.minimum(kept, (values.double() >= min_p[:, None] * values[:, :1]).sum(dim=1, keepdim=True))
    kept = kept.clamp(min=1)  # where scores are no numbers nothing was kept; that is told by their entropy
    place = torch.searchsorted(mass, mass.gather(1, kept - 1) * number[:, None], right=True)
    return order.gather(1, torch.minimum(place, kept - 1))[:, 0]
