"""The roofline of our training step, part by part: `train_parts.py [gpt|bert] [--quick] [--steps N] [--threads N]`.

Timed inside whole steps on the processor, forward and backward (hooks at the modules; blocks not compiled), in the
precision that the trainer takes here. Of parts made of products with weights the last column is their share of the rate
of these products run alone, of the others the share of the rate at which memory is copied, for what they must at least
read and write. The scores of attention and their softmax count as time of attention and not as its products. What is in
no part: the embedding, residual sums, Python.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import train_ours  # beside this file
import train_work
from machine import machine
from torch import Tensor, nn
from train_work import SHAPES

from lamina.model.train import objectives
from lamina.model.train.distributed import Team
from lamina.model.train.memory import keep_freed_memory
from lamina.model.train.objectives import Aims
from lamina.model.train.optimizers import make_optimizer
from lamina.model.train.parameters import TrainParameters
from lamina.model.train.plan import faster_precision
from lamina.model.train.step import Step
from lamina.model.transformer import Transformer

PARTS = ("attention", "feed-forward", "norms", "head and loss", "clipping, optimizer", "data")
_MODULES = {"attention": "attention", "cross": "attention", "feedforward": "feed-forward"}
_WARM = 2


class Clock:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._began: dict[int, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What the block takes."""
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began

    def watch(self, module: nn.Module, name: str) -> None:
        """Let the module's passes count, forward and backward."""

        def begin(*_: Any) -> None:
            self._began[id(module)] = time.perf_counter()

        def end(*_: Any) -> None:
            self.seconds[name] += time.perf_counter() - self._began.pop(id(module))

        module.register_forward_pre_hook(begin)
        module.register_forward_hook(end)
        module.register_full_backward_pre_hook(begin)
        module.register_full_backward_hook(end)


def watch(model: Transformer, clock: Clock) -> None:
    """All parts of the model; the loss over the vocabulary is a function."""
    for stack in (model.encoder, model.decoder):
        for module in () if stack is None else (*stack.blocks.modules(), stack.norm):
            for name, child in () if module is None else module.named_children():
                if name in _MODULES:
                    clock.watch(child, _MODULES[name])
                elif name.endswith(("_norm", "_after")):
                    clock.watch(child, "norms")
    if model.stack.norm is not None:
        clock.watch(model.stack.norm, "norms")
    loss = objectives.chunked_cross_entropy

    def timed(*given: Any, **named: Any) -> Tensor:
        with clock.part("head and loss"):
            return loss(*given, **named)

    objectives.chunked_cross_entropy = timed


def matrix_seconds(sizes: list[tuple[int, int]], rows: int, dtype: torch.dtype) -> float:
    """Of the three products of linear layers (in, out) over ``rows`` rows, each alone: the median of five."""
    total = 0.0
    for size in set(sizes):
        x, w, g = (torch.randn(a, b).to(dtype) for a, b in ((rows, size[0]), (size[1], size[0]), (rows, size[1])))
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            torch.mm(x, w.t()), torch.mm(g, w), torch.mm(g.t(), x)
            taken.append(time.perf_counter() - began)
        total += sizes.count(size) * statistics.median(taken)
    return total


def copy_rate() -> float:
    """Bytes a second that are read and written by a copy of 256 MB."""
    source, target, taken = torch.zeros(1 << 26), torch.zeros(1 << 26), []
    for _ in range(5):
        began = time.perf_counter()
        target.copy_(source)
        taken.append(time.perf_counter() - began)
    return 2 * source.nbytes / statistics.median(taken)


def bounds(model: Transformer, rows: int, dtype: torch.dtype) -> dict[str, tuple[str, float]]:
    """For each part what it is bound by, in words, and the seconds that this bound alone would take."""
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and name != "head"}
    sizes = {
        part: [(m.in_features, m.out_features) for name, m in linear.items() if any(f".{k}." in name for k in keys)]
        for part, keys in (("attention", ("attention", "cross")), ("feed-forward", ("feedforward",)))
    }
    assert model.head is not None  # the works that are measured have one
    sizes["head and loss"] = [(model.head.in_features, model.head.out_features)]
    found = {part: ("products", matrix_seconds(given, rows, dtype)) for part, given in sizes.items()}
    rate, weights = copy_rate(), sum(p.nbytes for p in model.parameters())
    norms = sum(1 for name, _ in model.named_modules() if name.endswith(("norm", "_after")))
    width = model.spec.stack.embeddings.width
    # A norm reads and writes its rows, and in the backward pass reads two arrays and writes one, all float32.
    found["norms"] = "memory", norms * rows * width * 4 * 5 / rate
    # Clipping reads the gradient; AdamW reads weight, gradient and two averages, and writes three of them.
    found["clipping, optimizer"] = "memory", weights * 8 / rate
    return found


def main() -> int:
    """Train a few steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="?", default="gpt", choices=["gpt", "bert"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    shape = train_work.quick(SHAPES[arguments.work]) if arguments.quick else SHAPES[arguments.work]
    model = train_ours.model_of(arguments.work, shape).train()
    batches = {"gpt": train_ours.gpt_batches, "bert": train_ours.bert_batches}[arguments.work](shape)
    stream, rows = train_ours.Cycle(batches), batches[0].inputs.size
    precision = faster_precision(model, rows)
    weights = dict(model.named_parameters())
    optimizer = make_optimizer(weights, TrainParameters(steps=1), torch.device("cpu"))
    step, clock, whole = Step(model, Aims(), torch.device("cpu"), Team()), Clock(), []
    watch(model, clock)
    for number in range(_WARM + arguments.steps):
        if number == _WARM:
            clock.seconds = dict.fromkeys(PARTS, 0.0)
        began = time.perf_counter()
        with clock.part("data"):
            batch = next(stream)
        step.backward([batch], precision)
        with clock.part("clipping, optimizer"):
            nn.utils.clip_grad_norm_(weights.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        whole.append(time.perf_counter() - began)
    taken = sum(whole[_WARM:]) / arguments.steps
    bound = bounds(model, rows, getattr(torch, precision))
    say: Callable[[str], Any] = sys.stdout.write
    say(f"{arguments.work}, {rows:,} places a step, {precision}, {taken:.3f} s; {machine()}\n\n")
    say("| part | s a step | share | bound by | share of that bound |\n|---|--:|--:|---|--:|\n")
    for part, seconds in clock.seconds.items():
        each = seconds / arguments.steps
        by, least = bound.get(part, ("-", 0.0))
        reached = f"{least / each:.0%}" if each and least else "-"
        say(f"| {part} | {each:.4f} | {each / taken:.1%} | {by} | {reached} |\n")
    say(f"| none of these | {taken - sum(clock.seconds.values()) / arguments.steps:.4f} | | | |\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
