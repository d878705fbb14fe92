"""The tensors of a GGUF file as float32: every quantisation that the ``gguf`` package can expand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.gguf.header import TensorInfo


class Tensors:
    """Reads tensors of the file ``path``, each when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._data, self._where = np.memmap(path, dtype=np.uint8, mode="r"), str(path)

    def read(self, info: TensorInfo) -> Tensor:
        """Float32 of ``info.shape``. Raises ``ModelFileError`` where the file holds none, or numbers that are none."""
        values = torch.from_numpy(_expand(info, self._data, self._where))
        if not bool(torch.isfinite(values).all()):
            raise ModelFileError(f"the tensor '{info.name}' holds NaN or infinite values", where=self._where)
        return values


def _expand(info: TensorInfo, data: np.ndarray, where: str) -> np.ndarray:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        kind = GGMLQuantizationType(info.kind)
        block, size = GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError) as error:
        raise _unknown_type(info, where) from error
    if info.shape[-1] % block or not all(info.shape):
        raise ModelFileError(f"the tensor '{info.name}' of shape {info.shape} is not whole blocks", where=where)
    stored = math.prod(info.shape) // block * size
    if info.start + stored > len(data):
        raise ModelFileError(f"the file ends inside the tensor '{info.name}'", where=where, hint="is it truncated?")
    raw = np.array(data[info.start : info.start + stored])
    try:
        if kind is GGMLQuantizationType.F32:
            expanded = raw.view(np.float32)
        elif kind is GGMLQuantizationType.F16:
            expanded = raw.view(np.float16)
        else:
            expanded = dequantize(raw.reshape(*info.shape[:-1], info.shape[-1] // block * size), kind)
    except NotImplementedError as error:
        raise _unknown_type(info, where) from error
    return np.ascontiguousarray(expanded, dtype=np.float32).reshape(info.shape)


def type_name(kind: int) -> str:
    """The name of a type of tensor."""
    from gguf import GGMLQuantizationType

    try:
        return str(GGMLQuantizationType(kind).name)
    except ValueError:
        return f"type {kind}"


def _unknown_type(info: TensorInfo, where: str) -> ModelFileError:
    from gguf import GGMLQuantizationType, quants

    known = ["F32", "F16", *(k.name for k in GGMLQuantizationType if k in quants._type_traits)]
    return ModelFileError(
        f"the tensor '{info.name}' has the type {type_name(info.kind)}, which cannot be read",
        where=where,
        hint="known: " + ", ".join(known),
    )
