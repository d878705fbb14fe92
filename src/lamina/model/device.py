"""Where a model computes: on the processor, or on a GPU that torch can use."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch

from lamina.kit.errors import ConfigError
from lamina.kit.limits import read_limits

Device = Literal["auto", "cpu", "cuda"]
_REMEDY = "TORCH=cuda make setup (or pip install torch with CUDA)"
_ROWS, _WIDTH = 512, 1024  # of the product that is timed
_READ = 256 << 20  # bytes, more than caches hold
_DRAWS, _LOOKED_S = 5, 0.4  # calls that are timed, at least, and for how long
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
    """Bytes that it has in all; of the processor no more than the control groups of this process may use."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    return float(read_limits().memory)


def product_rate(device: torch.device) -> float:
    """FLOP a second of matrix products as training has them, in the faster of float32 and bfloat16."""
    rates = []
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(_ROWS, _WIDTH, dtype=dtype, device=device)
        w = torch.ones(_WIDTH, _WIDTH, dtype=dtype, device=device)
        taken = _quickest(partial(torch.matmul, x, w), device)
        rates.append(2.0 * _ROWS * _WIDTH * _WIDTH / taken)
    return max(rates)


def read_rate(device: torch.device) -> float:
    """Bytes a second that it reads from its memory."""
    values = torch.ones(_READ // 4, dtype=torch.float32, device=device)
    return _READ / _quickest(values.sum, device)


def _quickest(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of some calls, after one that warms up: what else runs on the machine only slows them."""
    taken: list[float] = []
    while len(taken) < _DRAWS or sum(taken) < _LOOKED_S:
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


#: Held while a CUDA graph is captured, and by who waits for the whole device: that ends a capture of another thread.
capturing = threading.Lock()


@cache
def triton_kernels(module: str) -> ModuleType | None:
    """The module of kernels of that name where Triton can be had and its ``probe`` runs, else None."""
    try:
        kernels = import_module(module)
        with capturing:
            kernels.probe()
        return kernels
    except Exception as error:  # Triton is missing, or does not fit this card
        _log.warning("the GPU goes without the kernels of %s: %s", module, error)
        return None


def gpu_is_there() -> bool:
    """Whether the NVIDIA driver shows a device, whatever torch can do."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
