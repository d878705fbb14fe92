"""How much an engine takes on at once where nobody says it: by what it computes on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """``sequences`` answered at a time; ``rows``: of them in one product; MiB of keys and values; tokens of a prompt
    computed at once while others decode (``chunk``), and while nobody does (``wide_chunk``)."""

    sequences: int = 8
    rows: int = 16
    cache_mb: int = 128
    chunk: int = 128
    wide_chunk: int = 256


def suited(device: torch.device) -> Sizes:
    """On a GPU 64 sequences, and a third of the memory that is free now: the weights are there, activations come."""
    if device.type != "cuda":
        return Sizes()
    free, _ = torch.cuda.mem_get_info(device)
    return Sizes(sequences=64, rows=128, cache_mb=max(128, free // 3 // _MB), chunk=512, wide_chunk=4096)
