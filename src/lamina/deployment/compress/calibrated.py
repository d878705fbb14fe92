"""Quantisation with calibration: which method rounds to which bits, and what is left to do after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from lamina.deployment.compress.awq import awq
from lamina.deployment.compress.gptq import gptq
from lamina.deployment.compress.quantize import Bits, quantize
from lamina.deployment.compress.smoothquant import smooth
from lamina.kit.progress import Progress
from lamina.model.transformer import Transformer

Method = Literal["smoothquant", "awq", "gptq"]
BITS: dict[Method, Bits] = {"smoothquant": "int8", "awq": "int4", "gptq": "int4"}
_METHODS = {"smoothquant": smooth, "awq": awq, "gptq": gptq}


def quantize_calibrated(
    model: Transformer, method: Method, batches: Sequence[Tensor], *, progress: Progress | None = None
) -> Transformer:
    """``quantize`` of a plain decoder by a ``method`` that reads ``batches`` (token ids (B, T) each), in place.

    Raises ``InputError`` where there are no tokens, or ``model`` is no decoder.
    """
    return quantize(_METHODS[method](model.float(), batches, progress=progress), BITS[method])
