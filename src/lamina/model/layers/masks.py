"""What may attend to what: masks by document, by order and by distance, made once a batch for all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mask:
    """``allowed`` (B or 1, 1, T, S) bool, or None: everything, or with ``causal`` everything up to a token itself."""

    allowed: Tensor | None = None
    causal: bool = False


NO_MASK = Mask()


def self_mask(
    length: int,
    *,
    causal: bool,
    window: int | None,
    segments: Tensor | None,
    device: torch.device,
    always: bool = False,
) -> Mask:
    """For self-attention over rows of ``length`` tokens.

    ``segments`` (B, T) int64: documents packed in a row, numbered from 1, 0 = padding; none sees another. Where plain
    attention gives the same for every real token, there is no mask: what padding computes is never read. ``always``: do
    not look whether that is so, which waits for what computes the segments.
    """
    near = window is not None and window < length
    if segments is None or (not always and needs_none(segments, causal)):
        if not near:
            return Mask(causal=causal)
        return Mask(_order(length, causal, window, device))
    allowed = segments[:, None, :, None] == segments[:, None, None, :]
    if causal or near:
        allowed = allowed & _order(length, causal, window if near else None, device)
    return Mask(allowed)


def cached_mask(stored: int, length: int, *, window: int | None, device: torch.device) -> Mask:
    """For causal self-attention of ``length`` new tokens to themselves and ``stored`` ones before them."""
    total = stored + length
    near = window is not None and window < total
    if not stored and not near:
        return Mask(causal=True)
    if length == 1 and not near:
        return NO_MASK
    return Mask(_order(total, True, window if near else None, device)[:, :, stored:])


def cross_mask(segments: Tensor | None, source_segments: Tensor | None, *, always: bool = False) -> Mask:
    """For attention of ``segments`` (B, T) to ``source_segments`` (B, S): each document to its own source.

    None stands for one document a row. Padding sees everything, since a row must see something. ``always``: see above.
    """
    if source_segments is None or (segments is None and not always and bool((source_segments == 1).all())):
        return NO_MASK
    own = torch.ones_like(source_segments[:, :1]) if segments is None else segments
    allowed = (own[:, :, None] == source_segments[:, None, :]) | (own == 0)[:, :, None]
    return Mask(allowed[:, None])


def needs_none(segments: Any, causal: bool) -> bool:
    """Whether plain attention shows no real token another document: ``segments`` (B, T), of torch or numpy."""
    return (causal and _only_padded(segments)) or bool((segments == segments[:, :1]).all())


def _only_padded(segments: Any) -> bool:
    """Whether each row is one document, then padding."""
    real = segments != 0
    one_document = ((segments == segments[:, :1]) | ~real).all()
    return bool(one_document) and not bool((real[:, 1:] & ~real[:, :-1]).any())


def _order(length: int, causal: bool, window: int | None, device: torch.device) -> Tensor:
    """(1, 1, T, T) bool: not later, where ``causal``; nearer than ``window``."""
    allowed = torch.ones(length, length, dtype=torch.bool, device=device)
    if causal:
        allowed = allowed.tril()
    if window is not None:
        allowed = allowed.triu(1 - window)
        allowed = allowed if causal else allowed.tril(window - 1)
    return allowed[None, None]
