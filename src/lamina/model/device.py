"""Where a model computes: on the processor, or on a GPU that torch can use."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

import torch

from lamina.kit.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]
_REMEDY = "TORCH=cuda make setup (or pip install torch with CUDA)"
_log = logging.getLogger(__name__)


def choose_device(wanted: Device = "auto", *, where: str = "device") -> torch.device:
    """``auto``: the GPU where torch can use one, else the processor. Raises ``ConfigError`` where "cuda" cannot be had.

    A GPU that this build of torch cannot use is told in one line with the remedy.
    """
    usable = torch.cuda.is_available()
    if wanted == "cuda" and not usable:
        what = "this machine has a GPU that torch cannot use" if gpu_is_there() else "this machine has no GPU"
        raise ConfigError(what, where=where, hint=_REMEDY if gpu_is_there() else f'{where} = "cpu"')
    if wanted == "auto" and not usable and gpu_is_there():
        _log.warning("this machine has a GPU that torch %s cannot use: %s", torch.__version__, _REMEDY)
    return torch.device("cuda" if usable and wanted != "cpu" else "cpu")


def memory_of(device: torch.device) -> float:
    """Bytes that it has in all."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def gpu_is_there() -> bool:
    """Whether the NVIDIA driver shows a device, whatever torch can do."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
