"""GPTQ (arXiv 2210.17323): columns are rounded one after another, each one's error made good by those that follow.

What a column's error does to the layer's products follows from the moments H of its inputs; the best correction of the
columns after it is read off the Cholesky factor of H's inverse. Blocks of the model are done in order, each reading
what the rounded ones before it give. Columns of large inputs come first, and groups of 32 have their scale and minimum
before; in the order of the file groups get them when their first column is reached. At the end scales and minimums are
fitted to the nibbles that came out (see ``grids``), which the paper does not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamina.deployment.compress.calibration import readers, walk
from lamina.deployment.compress.grids import fit_grids
from lamina.deployment.compress.int4 import GROUP, Int4Linear, group_grid, needs_rounding, nibbles, packed, values
from lamina.kit.errors import LaminaError
from lamina.kit.progress import Progress
from lamina.model.transformer import Transformer

_BLOCK = 128  # columns whose corrections reach the rest of the matrix together
_DAMP = 0.01  # of the mean of H's diagonal, added to it
_MOST_DAMP = 1.0


@torch.no_grad()
def gptq(
    model: Transformer, batches: Sequence[Tensor], *, act_order: bool = True, progress: Progress | None = None
) -> Transformer:
    """Turn the layers within ``model``'s blocks to int4, in place; ``batches``: token ids (B, T) each.

    ``act_order``: see ``gptq_round``. Layers that come from 4-bit blocks, or whose inputs are not whole groups, stay
    as they are (``quantize`` sees to them). Raises ``InputError`` as ``walk``.
    """
    for block, seen in walk(model, batches, again=True, progress=progress):
        for reads, places in readers(block).items():
            found = [(module, name, getattr(module, name)) for module, name in places]
            found = [place for place in found if needs_rounding(place[2].weight)]
            if not found:
                continue
            together = torch.cat([layer.weight.float() for _, _, layer in found])
            rows = [layer.out_features for _, _, layer in found]
            parts = [part.split(rows) for part in gptq_round(together, seen[reads].moments, act_order=act_order)]
            for (module, name, layer), *groups in zip(found, *parts, strict=True):
                weight, scale, minimum = (part.contiguous() for part in groups)
                setattr(module, name, Int4Linear.of(layer, (weight, scale, minimum)))
    return model


@torch.no_grad()
def gptq_round(weight: Tensor, moments: Tensor, *, act_order: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Nibbles (N, K / 2) uint8, scales and minimums (N, K / 32) float16 of a ``weight`` (N, K), as ``round_groups``.

    ``moments`` (K, K): E[x xᵀ] of the layer's inputs. ``act_order``: columns of large inputs first, as the authors'
    code has it; groups stay those of the file, so that they get their scales before any column is rounded. Without it a
    layer that is nearly of 4 bits already lost up to four times as much as by rounding to nearest (docs/log.md).
    """
    rest = weight.detach().float().clone()
    order = moments.diagonal().argsort(descending=True) if act_order else torch.arange(rest.shape[1])
    factor = _inverse_factor(moments[order][:, order])
    scale, minimum = (grid.squeeze(-1) for grid in group_grid(rest.unflatten(1, (-1, GROUP))))
    rest, whole = rest[:, order], torch.zeros_like(rest)
    for start in range(0, rest.shape[1], _BLOCK):
        end = min(start + _BLOCK, rest.shape[1])
        off = torch.zeros_like(rest[:, start:end])
        for column in range(start, end):
            group = int(order[column]) // GROUP
            if not act_order and column % GROUP == 0:
                grid = group_grid(rest[:, None, column : column + GROUP])
                scale[:, group], minimum[:, group] = (part.flatten() for part in grid)
            own = rest[:, column]
            steps = nibbles(own, scale[:, group], minimum[:, group])
            whole[:, order[column]] = steps
            error = (own - values(steps, scale[:, group], minimum[:, group])) / factor[column, column]
            off[:, column - start] = error
            rest[:, column:end] -= error[:, None] * factor[column, column:end]
        rest[:, end:] -= off @ factor[start:end, end:]
    groups = packed(whole.unflatten(1, (-1, GROUP))), scale.half(), minimum.half()
    return fit_grids(weight, moments, groups)


def _inverse_factor(moments: Tensor) -> Tensor:
    """The upper Cholesky factor U (K, K) of the inverse of the damped ``moments``: H⁻¹ = Uᵀ U.

    Inputs that were never there correct nothing, and nothing corrects them.
    """
    damped, damp = moments.clone(), _DAMP
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1.0
    mean, plain = float(diagonal.mean()), diagonal.clone()
    while damp <= _MOST_DAMP:
        diagonal.copy_(plain + damp * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not failed:
            return upper
        damp *= 10
    raise LaminaError("the moments of a layer's inputs are not those of finite numbers", where="GPTQ")
