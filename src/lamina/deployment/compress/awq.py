"""AWQ (arXiv 2306.00978): weights of large inputs are made large before they are rounded to 4 bits.

Channel j of what a layer reads is divided by ``E[|x_j|]^a``, its weights multiplied; ``a`` from 0 to 1 is the one whose
rounded products are least off. The division is folded into what comes before the layer, so that it costs nothing.
Groups are then clipped where their own products, by the moments of their inputs, are least off, and their scales and
minimums fitted together (see ``grids``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamina.deployment.compress.calibration import Inputs, readers, walk
from lamina.deployment.compress.folding import Link, links
from lamina.deployment.compress.grids import fit_grids
from lamina.deployment.compress.int4 import WHOLE, Int4Linear, needs_rounding, round_groups
from lamina.kit.progress import Progress
from lamina.model.transformer import Transformer

_STEPS = 20  # of the grid from 0 to 1
_LEAST = 1e-4


@torch.no_grad()
def awq(model: Transformer, batches: Sequence[Tensor], *, progress: Progress | None = None) -> Transformer:
    """Turn the layers within ``model``'s blocks to int4, in place; ``batches``: token ids (B, T) each.

    Layers that come from 4-bit blocks, or whose inputs are not whole groups, stay as they are (``quantize`` sees to
    them). Raises ``InputError`` as ``walk``.
    """
    for block, found in walk(model, batches, progress=progress):
        seen = dict(found)
        for link in links(block):
            if all(needs_rounding(layer.weight) for layer in link.layers):
                scales = best_scales(link, seen[link.reads])
                link.fold(scales)
                seen[link.reads] = seen[link.reads].divided(scales)
        for reads, places in readers(block).items():
            for module, name in places:
                layer = getattr(module, name)
                if needs_rounding(layer.weight):
                    groups = round_groups(layer.weight, moments=seen[reads].of_groups)
                    fitted = fit_grids(layer.weight, seen[reads].moments, groups)
                    setattr(module, name, Int4Linear.of(layer, fitted))
    return model


def best_scales(link: Link, inputs: Inputs) -> Tensor:
    """The scales (K,) of the grid with the least error, the paper's equation 5."""
    size = link.even(inputs.size).clamp(min=_LEAST)
    best, least = torch.ones_like(size), torch.inf
    for step in range(_STEPS):
        scales = size ** (step / _STEPS)
        scales = scales / (scales.max() * scales.min()).sqrt()
        error = sum(
            output_error(layer.weight, _rounded(layer.weight * scales) / scales, inputs.moments)
            for layer in link.layers
        )
        if error < least:
            best, least = scales, error
    return best


def output_error(weight: Tensor, rounded: Tensor, moments: Tensor) -> float:
    """E[‖(rounded - weight) x‖²] of two matrices (N, K), by the ``moments`` E[x xᵀ] (K, K) of their inputs."""
    off = rounded - weight.float()
    return float(((off @ moments) * off).sum())


def _rounded(weight: Tensor) -> Tensor:
    return Int4Linear(*round_groups(weight, clips=WHOLE)).widened()
