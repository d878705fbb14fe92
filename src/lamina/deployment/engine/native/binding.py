"""The library beside this file: found, checked, and described to ctypes. Loads no torch.

``python hatch_build.py`` builds it; the package's installation does so where there is a C++ compiler. Without it the
engine decodes by its other kernels. ``LAMINA_NATIVE_LEVEL`` (portable, avx2, avx512-vnni, amx, neon, neon-dotprod, off)
takes a lower level.
"""

from __future__ import annotations

import ctypes
import functools
import os
from ctypes import POINTER, Structure, c_double, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from lamina.kit.errors import ConfigError, LaminaError

LIBRARY = Path(__file__).with_name("liblamina.so")
LEVELS = ("portable", "avx2", "avx512-vnni", "amx", "neon", "neon-dotprod")
ACTIVATIONS = ("relu", "relu2", "gelu", "gelu-tanh", "silu")
INT8, INT4 = 8, 4
STORED_FLOAT, STORED_HALF, STORED_INT8 = 32, 16, 8  # lamina_stored
PARTS = 3  # LAMINA_PARTS
_ABI = 7
_UNKNOWN = -2  # what a step tells of a request that names what the model does not have
_VARIABLE = "LAMINA_NATIVE_LEVEL"


class Matrix(Structure):
    """``lamina_matrix``."""

    _fields_ = (
        ("rows", c_int64),
        ("columns", c_int64),
        ("kind", c_int64),
        ("weights", c_void_p),
        ("scales", c_void_p),
        ("minimums", c_void_p),
        ("bias", c_void_p),
    )


class Norm(Structure):
    """``lamina_norm``."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("epsilon", c_double))


class Layer(Structure):
    """``lamina_layer``."""

    _fields_ = (
        *((name, Matrix) for name in ("qkv", "o", "up", "down")),
        *((name, Norm) for name in ("attention_norm", "feedforward_norm", "query_norm", "key_norm")),
        *((name, Matrix) for name in ("cross_q", "cross_o")),
        ("cross_norm", Norm),
        *((name, c_void_p) for name in ("cosines", "sines", "store", "scales")),
        *((name, c_int64) for name in ("stored", "heads", "kv_heads", "head_dim", "inner", "activation", "gated")),
    )


class LowRank(Structure):
    """``lamina_low_rank``."""

    _fields_ = (*((name, c_int64) for name in ("rank", "begin", "rows")), ("down", c_void_p), ("up", c_void_p))


class Model(Structure):
    """``lamina_model``."""

    _fields_ = (
        *((name, c_int64) for name in ("layers", "width", "vocabulary", "context", "slots", "block_tokens")),
        ("layer", POINTER(Layer)),
        *((name, c_void_p) for name in ("table", "table_scales", "places")),
        ("table_factor", c_double),
        ("in_place", c_int64),
        ("norm", Norm),
        ("head", Matrix),
    )


class Sources(Structure):
    """``lamina_sources``."""

    _fields_ = (("store", c_void_p), ("tokens", c_int64), ("begins", c_void_p), ("ends", c_void_p))


class Request(Structure):
    """``lamina_step_request``."""

    _fields_ = (
        *((name, c_void_p) for name in ("tokens", "positions", "tables")),
        *((name, c_int64) for name in ("rows", "blocks", "stride")),
        ("wanted", c_void_p),
        ("count", c_int64),
        *((name, c_void_p) for name in ("scores", "adapters", "sources")),
    )


class EncoderModel(Structure):
    """``lamina_encoder_model``."""

    _fields_ = (
        *((name, c_int64) for name in ("layers", "width", "in_place")),
        ("layer", POINTER(Layer)),
        ("norm", Norm),
    )


def describe() -> str:
    """Which native kernels serve here, or why none do, in words."""
    library, trouble = _open()
    if library is None:
        return f"not there: {trouble}"
    if wanted_level() is None:
        return f"switched off by {_VARIABLE}"
    return f"{LEVELS[best_level()]} instructions"


def open_library() -> Any | None:
    """The library; None where it was not built, does not fit, or is switched off."""
    return None if wanted_level() is None else _open()[0]


def trouble() -> str | None:
    """Why there is no library; None where there is."""
    return _open()[1]


def wanted_level() -> int | None:
    """The level that ``LAMINA_NATIVE_LEVEL`` names; -1: the best; None: switched off. Raises ``ConfigError``."""
    name = os.environ.get(_VARIABLE) or "best"
    if name == "off":
        return None
    if name != "best" and name not in LEVELS:
        raise ConfigError(f"'{name}' is no level", where=_VARIABLE, hint=f"one of best, {', '.join(LEVELS)}, off")
    return -1 if name == "best" else LEVELS.index(name)


def best_level(wanted: int | None = None) -> int:
    """The index in ``LEVELS`` that is used: the highest up to ``wanted`` (default: the environment's) that is here."""
    found = _open()[0]
    level = wanted_level() if wanted is None else wanted
    return 0 if found is None else int(found.lamina_best_level(-1 if level is None else level))


def step(library: Any, decoder: int | None, request: Request) -> None:
    """``lamina_step``. Raises ``LaminaError``."""
    told = library.lamina_step(decoder, request)
    if told == _UNKNOWN:
        raise LaminaError("a token, place or block that the model does not have", where="native kernels")
    if told:
        raise LaminaError("there is no memory for this step")


@functools.cache
def _open() -> tuple[Any | None, str | None]:
    if not LIBRARY.exists():
        return None, "it was not built (no C++ compiler was at hand; `python hatch_build.py` says more)"
    try:
        found = ctypes.CDLL(str(LIBRARY))
        if found.lamina_abi() != _ABI:
            return None, f"{LIBRARY.name} is of another version: `python hatch_build.py` builds it anew"
    except (OSError, AttributeError) as error:
        return None, f"{LIBRARY.name} cannot be loaded: {error}"
    _declare(found)
    return found, None


def _declare(library: Any) -> None:
    numbers, address = c_int64, c_void_p
    for name, result, arguments in (
        ("lamina_best_level", numbers, [numbers]),
        ("lamina_open", address, [POINTER(Model), numbers, numbers]),
        ("lamina_close", None, [address]),
        ("lamina_threads", None, [address, numbers]),
        ("lamina_step", numbers, [address, POINTER(Request)]),
        ("lamina_summarize", None, [address, numbers, numbers, numbers, address]),
        ("lamina_shares", None, [address, numbers, c_double, numbers, address]),
        ("lamina_bytes", numbers, [address]),
        ("lamina_read", c_uint64, [address]),
        ("lamina_encoder_open", address, [POINTER(EncoderModel), numbers, numbers]),
        ("lamina_encoder_close", None, [address]),
        ("lamina_encoder_threads", None, [address, numbers]),
        ("lamina_encode", numbers, [address, address, address, numbers, address]),
        ("lamina_product_open", address, [POINTER(Matrix), numbers, numbers]),
        ("lamina_product_apply", numbers, [address, address, numbers, address]),
        ("lamina_product_close", None, [address]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
