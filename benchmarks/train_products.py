"""The products of a training step, run alone: `train_products.py gpt DEVICE [quick]`, turns on its input.

Every matrix product of a step of our model (queries, keys, values, output, feed-forward, head; forward, the gradient of
the input, the gradient of the weight), on arrays of their own, in the precision that the trainer takes here: what the
step would take if it were products and nothing else. Attention's own two products are not among them.
"""

from __future__ import annotations

import sys

import torch
import train_work  # beside this file
from torch import Tensor, nn
from train_ours import model_of
from train_work import SHAPES, Turns

from lamina.model.train.plan import faster_precision
from lamina.model.transformer import Transformer


def products(model: Transformer) -> list[tuple[int, int]]:
    """(in, out) of each linear layer of the model, the head among them."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return [(layer.in_features, layer.out_features) for layer in linear]


def flops(model: Transformer, rows: int) -> float:
    """Of one step's products over ``rows`` tokens: a multiplication and an addition, three products a layer."""
    return float(sum(6 * rows * a * b for a, b in products(model)))


def main() -> None:
    """Do the products until nobody asks for more."""
    work, device, *rest = sys.argv[1:]
    shape = train_work.quick(SHAPES[work]) if "quick" in rest else SHAPES[work]
    model, rows = model_of(work, shape).to(device), shape.rows * shape.length
    dtype = getattr(torch, faster_precision(model, rows))
    sizes = products(model)

    def filled(*shape_: int) -> Tensor:
        return torch.randn(*shape_, dtype=torch.float32, device=device).to(dtype)

    arrays = {size: (filled(rows, size[0]), filled(size[1], size[0]), filled(rows, size[1])) for size in set(sizes)}
    turns = Turns(torch.cuda.synchronize if device == "cuda" else lambda: None)
    turns.wait()
    while True:
        for size in sizes:
            x, w, g = arrays[size]
            torch.mm(x, w.t())
            torch.mm(g, w)
            torch.mm(g.t(), x)
        turns.step(0.0)


if __name__ == "__main__":
    main()
