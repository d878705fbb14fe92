"""The matrices behind removed heads and channels, fitted so that they make up for what is gone.

Of a linear layer with inputs X (N, K) of which the columns S stay and R go, the weights that give the old outputs best
in the sense of least squares are W_S + W_R (X_Rᵀ X_S) (X_Sᵀ X_S)⁻¹: the update of optimal brain surgeon (Hassibi and
Stork 1992) for whole columns, as in arXiv 2302.04089. The correction is shrunk a little, so that few calibration
texts do not lead it astray.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamina.deployment.compress.calibration import walk
from lamina.kit.progress import Progress
from lamina.model.transformer import Transformer

_SHRINK = 0.01  # of the mean square of an input, added to each


@torch.no_grad()
def refitted(
    model: Transformer,
    groups: Sequence[Sequence[int]],
    channels: Sequence[Sequence[int]],
    batches: Sequence[Tensor],
    *,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """The weights, by their names in ``model``, of the matrices whose inputs go: all but ``groups`` of heads and
    ``channels`` of each block. ``batches``: token ids (B, T) each. Raises ``InputError`` as ``walk``."""
    found: dict[str, Tensor] = {}
    for number, (block, seen) in enumerate(walk(model, batches, progress=progress)):
        attention, name = block.attention, f"decoder.blocks.{number}"
        if len(groups[number]) < attention.kv_heads:
            size = attention.heads // attention.kv_heads * attention.head_dim
            stay = [group * size + i for group in groups[number] for i in range(size)]
            found[f"{name}.attention.o.weight"] = fitted(attention.o.weight, seen["attended"].moments, stay)
        down = block.feedforward.down
        if len(channels[number]) < down.in_features:
            found[f"{name}.feedforward.down.weight"] = fitted(down.weight, seen["inner"].moments, channels[number])
    return found


def fitted(weight: Tensor, moments: Tensor, stay: Sequence[int]) -> Tensor:
    """``weight`` (N, K) for the inputs ``stay`` alone, (N, S), given the second ``moments`` (K, K) of all."""
    kept = torch.tensor(stay, device=weight.device)
    gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
    gone[kept] = False
    if not bool(gone.any()):
        return weight.clone()
    shares = regressed(moments[kept][:, kept], moments[kept][:, gone])  # (S, R): how the gone follow from the kept
    return (weight[:, kept].double() + weight[:, gone].double() @ shares.T).to(weight.dtype)


def regressed(square: Tensor, across: Tensor) -> Tensor:
    """How outputs Y (N, M) follow from inputs X (N, K) by least squares, shrunk a little to zero: (K, M) float64.

    ``square``: Xᵀ X (K, K), ``across``: Xᵀ Y (K, M), or means of both.
    """
    square = square.to(torch.float64, copy=True)
    square.diagonal().add_(_SHRINK * square.diagonal().mean().clamp_min(1e-12))
    return torch.cholesky_solve(across.double(), torch.linalg.cholesky(square))
