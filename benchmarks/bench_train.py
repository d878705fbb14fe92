"""Training steps against a plain PyTorch loop over transformers' model: `bench_train.py [lora] [--quick] [--json]`.

The same step on both sides: SmolLM2-135M, LoRA rank 16 on every linear layer, AdamW, 512 tokens (`--quick`: 64). The
peer runs once under bfloat16 autocast and once in float32; ours chooses by measurement. `quality` gives both losses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from machine import machine, smollm2  # beside this file
from torch import Tensor, nn
from torch.nn import functional as F

import lamina
from lamina.model.checkpoint import open_model
from lamina.model.lora import add_lora, lora_parameters
from lamina.model.train.loss import chunked_cross_entropy
from lamina.model.train.plan import faster_precision

RANK, ALPHA = 16, 32.0


class PlainLora(nn.Module):
    """The textbook adapter."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(RANK, base.in_features) * 0.02)
        self.b = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.a), self.b) * (ALPHA / RANK)


def ours(folder: Path, ids: Tensor) -> Callable[[], float]:
    """A step of Lamina's trainer."""
    model = open_model(folder)
    add_lora(model, rank=RANK, alpha=ALPHA)
    weights = lora_parameters(model)
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    bf16 = faster_precision(model, ids.numel()) == "bfloat16"

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            hidden = model(ids[:, :-1])
            flat = hidden.reshape(-1, hidden.shape[-1])
            loss = chunked_cross_entropy(flat, model.head.weight, ids[:, 1:].reshape(-1)) / flat.shape[0]
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def plain(folder: Path, ids: Tensor, *, bf16: bool) -> Callable[[], float]:
    """The same step as a plain loop over transformers' model."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.requires_grad_(False)
    for name, module in list(model.model.named_modules()):
        if isinstance(module, nn.Linear):
            model.model.set_submodule(name, PlainLora(module))
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(ids, labels=ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def pair(folder: Path, peer: str, runs: int, length: int, *, bf16: bool) -> dict[str, Any]:
    """Both sides in turn."""
    torch.manual_seed(0)
    ids = torch.randint(0, 40000, (1, length + 1))
    mine, theirs = ours(folder, ids), plain(folder, ids, bf16=bf16)
    first = (mine(), theirs())
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for side, step in enumerate((mine, theirs)):
            start = time.perf_counter()
            step()
            times[side].append(time.perf_counter() - start)
    tokens = length
    ratios = [b / a for a, b in zip(*times, strict=True)]
    return {
        "work": f"lora, {length} tokens a step",
        "peer": peer,
        "ours": tokens / statistics.median(times[0]),
        "theirs": tokens / statistics.median(times[1]),
        "ratio": statistics.median(ratios),
        "unit": "tokens/s",
        "runs": runs,
        "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
        "quality": f"first loss {first[0]:.4f} against {first[1]:.4f}",
        "versions": {
            "lamina": lamina.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "machine": machine(),
    }


def main() -> int:
    """Print a row for each peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=["lora"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.rows) - {"lora"}:
        parser.error("known rows: lora")
    folder = smollm2()
    runs, length = (3, 64) if arguments.quick else (5, 512)
    for peer, bf16 in (("plain PyTorch loop, bf16 autocast", True), ("plain PyTorch loop, float32", False)):
        row = pair(folder, peer, runs, length, bf16=bf16)
        words = f"{peer}: {row['ratio']:.2f}x ({row['spread']}), {row['ours']:.0f} tokens/s"
        text = json.dumps(row) if arguments.json else words
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
