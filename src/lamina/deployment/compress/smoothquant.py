"""SmoothQuant (arXiv 2211.10438): what is hard to round in activations is moved into the weights, before int8.

Channel j of what a layer reads is divided by ``max |x_j|^a / max |w_j|^(1 - a)``, folded into the norm before it. The
paper takes one strength ``a`` for a model, 0.5 as a rule; here each norm gets the one of a grid whose int8 products of
rounded inputs are least off on the calibration rows, none at all among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamina.deployment.compress.calibration import Inputs, walk
from lamina.deployment.compress.folding import Link, links
from lamina.deployment.compress.int8 import quantize_rows
from lamina.kit.progress import Progress
from lamina.model.transformer import Transformer

STRENGTHS = (0.25, 0.35, 0.45, 0.5, 0.55, 0.65, 0.75, 0.85)
_LEAST = 1e-5  # of what scales are made of


@torch.no_grad()
def smooth(
    model: Transformer, batches: Sequence[Tensor], *, strength: float | None = None, progress: Progress | None = None
) -> Transformer:
    """Fold the scales of ``strength`` (None: the best of ``STRENGTHS`` for each norm) into ``model``, in place.

    ``batches``: token ids (B, T) each. The function of the model stays what it was. Raises ``InputError`` as ``walk``.
    """
    for block, seen in walk(model, batches, progress=progress):
        for link in links(block):
            if not link.from_norm:
                continue
            inputs = seen[link.reads]
            if strength is not None:
                link.fold(smoothing(link, inputs, strength))
                continue
            tried = [torch.ones_like(inputs.peak), *(smoothing(link, inputs, a) for a in STRENGTHS)]
            losses = [int8_error(link, inputs.rows, scales) for scales in tried]
            link.fold(tried[losses.index(min(losses))])
    return model


def smoothing(link: Link, inputs: Inputs, strength: float) -> Tensor:
    """The paper's scales (K,), equation 4."""
    weights = torch.stack([layer.weight.float().abs().amax(0) for layer in link.layers]).amax(0)
    peak = inputs.peak.clamp(min=_LEAST)
    return (peak**strength / weights.clamp(min=_LEAST) ** (1 - strength)).clamp(min=_LEAST)


def int8_error(link: Link, rows: Tensor, scales: Tensor) -> float:
    """Σ of the squared errors of the layers' products of ``rows`` (R, K), both sides in int8, with ``scales`` (K,)."""
    inputs = _rounded(rows / scales)
    return sum(
        float((inputs @ _rounded(layer.weight.float() * scales).T - rows @ layer.weight.float().T).square().sum())
        for layer in link.layers
    )


def _rounded(rows: Tensor) -> Tensor:
    """``rows`` (R, K) as int8 holds them, one scale a row."""
    whole, scale = quantize_rows(rows)
    return whole.float() * scale.float()[:, None]
