"""Modules whose weights come from elsewhere: on torch's ``meta`` device, and nothing is drawn for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def hollow() -> Iterator[None]:
    """Inside, what is made has shapes and no values, and ``torch.nn.init`` does nothing.

    Drawing on ``meta`` would give nothing either, but torch answers it through its compiler, whose import takes
    1.5 processor seconds in every process that opens a model.
    """
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", "") == torch.nn.init.__name__:
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)
