"""``torch.compile`` for the blocks of a model, where a comparison at the start shows that it pays."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch

from lamina.model.transformer import Transformer

_COMPILE_S = 60.0  # of compiling and trying, on a slow machine; measured: 10 to 80 s
_HOPE = 0.15  # the share of a step's time that fusing may save on a CPU
_GAIN = 1.03  # a compiled step must be faster by this factor


def set_compiled(model: Transformer, *, on: bool) -> None:
    """Let the blocks of ``model`` run compiled, or as they are written; names and weights stay.

    Blocks alone: heads see another number of learned tokens each step, and would be compiled again and again.
    """
    for stack in (model.encoder, model.decoder):
        for block in stack.blocks if stack is not None else ():
            if on:
                block.compile(dynamic=False)
            else:
                block._compiled_call_impl = None


def is_compiled(model: Transformer) -> bool:
    """Whether its blocks run compiled."""
    return any(block._compiled_call_impl is not None for block in model.stack.blocks)


def worth_trying(run_s: float, device: torch.device) -> bool:
    """Whether a run of ``run_s`` seconds is long enough to gain more by compiled steps than compiling takes."""
    return can_compile(device) and run_s * _HOPE > _COMPILE_S


def can_compile(device: torch.device) -> bool:
    """Whether there is what the compiler needs."""
    return device.type == "cuda" or shutil.which("g++") is not None


def compare(model: Transformer, step: Callable[[], float], eager_s: float) -> tuple[bool, float | None, str]:
    """Whether compiled blocks pay, the seconds of such a step, and the finding in words; where they do not, the model
    is left as it was. ``step()`` does one step, undoes it and returns its seconds."""
    set_compiled(model, on=True)
    try:
        taken = step()
    except Exception as error:  # whatever the compiler trips over, the run goes on without it
        set_compiled(model, on=False)
        torch.compiler.reset()
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        return False, None, f"not compiled: {type(error).__name__}: {reason}"
    if eager_s < _GAIN * taken:
        set_compiled(model, on=False)
        return False, taken, f"not compiled: {taken:.3f} s a step against {eager_s:.3f} s"
    return True, taken, f"compiled: {taken:.3f} s a step against {eager_s:.3f} s"
