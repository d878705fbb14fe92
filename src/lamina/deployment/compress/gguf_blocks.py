"""A served model's matrices as the blocks of GGUF: what was rounded once is not rounded again.

A block has 32 neighbours of a row: of Q8_0 a float16 scale and 32 int8, of Q4_1 a scale, a minimum and 16 bytes of
nibbles in the order of ``int4``, of Q4_0 the same without a minimum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.deployment.compress.int4 import GROUP, Int4Linear
from lamina.deployment.compress.int8 import Int8Embedding, Int8Linear
from lamina.model.gguf import Blocks
from lamina.model.transformer import Transformer


def served_weights(model: Transformer) -> dict[str, Tensor | Blocks]:
    """All parameters of a quantised ``model`` by our names, a tied head left out, as ``export_gguf`` takes them.

    A matrix of int8 whose rows are no whole blocks is given as float32, and so is one with scales beyond float16.
    """
    found: dict[str, Tensor | Blocks] = {
        name: p.detach() for name, p in model.named_parameters() if name not in model.aliases
    }
    tied = model.spec.head is not None and model.spec.head.tied
    for name, module in model.named_modules():
        if not isinstance(module, Int8Linear | Int8Embedding | Int4Linear) or (tied and name == "head"):
            continue
        found[f"{name}.weight"] = blocks_of(module)
        if not isinstance(module, Int8Embedding) and module.bias is not None:
            found[f"{name}.bias"] = module.bias
    return found


def blocks_of(module: Int8Linear | Int8Embedding | Int4Linear) -> Tensor | Blocks:
    """The weights of ``module``; see ``served_weights``."""
    rows = module.weight.shape[0]
    if isinstance(module, Int4Linear):
        parts = [module.scale] if module.minimum is None else [module.scale, module.minimum]
        heads = [part.half().contiguous().view(torch.uint8).view(rows, -1, 2) for part in parts]
        whole = torch.cat([*heads, module.weight.view(rows, -1, GROUP // 2)], dim=-1)
        return Blocks("Q4_0" if module.minimum is None else "Q4_1", whole.flatten(1))
    scale = module.scale.half().contiguous()  # bfloat16, of which float16 holds what is not below 6e-5 exactly
    if module.weight.shape[1] % GROUP or not bool(scale.isfinite().all()):
        return module.widened()
    numbers = module.weight.contiguous().view(torch.uint8).view(rows, -1, GROUP)
    head = scale.view(torch.uint8).view(rows, 1, 2).expand(rows, numbers.shape[1], 2)
    return Blocks("Q8_0", torch.cat([head, numbers], dim=-1).flatten(1))
