"""Which kernel of torch's attention runs: the fused ones save memory and time, "math" is what is left.

A fused kernel takes no dropout inside the attention and no mask that is learned (T5's relative positions); nothing
fails where it cannot be had, it is only slow, so that somebody has to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode

_NAMES = {
    SDPBackend.MATH: "math",
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "efficient",
    SDPBackend.CUDNN_ATTENTION: "cudnn",
}


@contextmanager
def attention_kernels() -> Iterator[Counter[str]]:
    """Inside, calls of attention are counted by the kernel that torch takes: "flash", "efficient", "cudnn", "math"."""
    seen: Counter[str] = Counter()
    with _Watch(seen):
        yield seen


class _Watch(TorchFunctionMode):
    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is F.scaled_dot_product_attention:
            choice = torch._fused_sdp_choice(*args, **named)
            self._seen[_NAMES.get(SDPBackend(choice), "other")] += 1
        return func(*args, **named)
