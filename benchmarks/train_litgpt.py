"""litgpt's side of the training benchmarks: `train_litgpt.py gpt DEVICE [quick] [float32]`, in .bench/litgpt.

Its model, its loss and the order of things of its `pretrain`: Lightning Fabric in "bf16-mixed" (what it takes by
default), torch.compile, AdamW, clipping. The shape is that of the other sides; its position is rotary, and its head is
not tied, so that it has as many products and more weights.
"""

from __future__ import annotations

import sys

import lightning
import torch
import train_work  # beside this file
from litgpt import GPT, Config
from litgpt.utils import chunked_cross_entropy
from train_work import SHAPES, Shape, Turns


def config_of(shape: Shape) -> Config:
    """A GPT-2 of the shape, as far as litgpt has one."""
    return Config(
        block_size=shape.length,
        n_layer=shape.layers,
        n_embd=shape.width,
        n_head=shape.heads,
        vocab_size=shape.vocabulary,
        padded_vocab_size=shape.vocabulary,
        intermediate_size=shape.inner,
        parallel_residual=False,
        rotary_percentage=1.0,
        attn_bias=True,
        gelu_approximate="tanh",
    )


def weights(module: torch.nn.Module) -> None:
    """Small, as for the others, so that the first losses can be compared."""
    if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
        torch.nn.init.normal_(module.weight, std=0.02)
        if getattr(module, "bias", None) is not None:
            torch.nn.init.zeros_(module.bias)


def main() -> None:
    """Train until nobody asks for more."""
    work, device, *rest = sys.argv[1:]
    shape = train_work.quick(SHAPES[work]) if "quick" in rest else SHAPES[work]
    precision = "32-true" if "float32" in rest else "bf16-mixed"
    cuda = device == "cuda"
    fabric = lightning.Fabric(devices=1, accelerator="cuda" if cuda else "cpu", precision=precision)
    torch.manual_seed(0)
    with fabric.init_module(empty_init=False):
        model = GPT(config_of(shape))
    model.apply(weights)
    model = fabric.setup(torch.compile(model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, betas=(0.9, 0.95), fused=True)
    optimizer = fabric.setup_optimizers(optimizer)
    turns = Turns(
        torch.cuda.synchronize if cuda else lambda: None,
        (lambda: torch.cuda.max_memory_allocated() / 1e6) if cuda else None,
    )
    number, batches = 0, train_work.rows(shape)
    turns.wait()
    while True:
        ids = fabric.to_device(torch.from_numpy(batches[number % len(batches)]))
        number += 1
        logits = model(ids[:, :-1].contiguous())
        loss = chunked_cross_entropy(logits, ids[:, 1:].contiguous(), chunk_size=0)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        turns.step(loss.item())


if __name__ == "__main__":
    main()
