"""Our side of the training benchmarks: `train_ours.py WORK DEVICE [quick]`, turns (`train_work.Turns`) on its input.

The trainer itself, ``lamina.model.train.train``, over a stream of ready batches.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train_work  # beside this file
from train_work import END, IGNORED, SHAPES, START, Shape, Turns

from lamina.contracts.tokens import Batch
from lamina.data.objectives.masking import Masking
from lamina.data.packing import best_fit
from lamina.kit.log import MetricsWriter
from lamina.model.architectures.bert import bert
from lamina.model.architectures.gpt import gpt2, llama
from lamina.model.architectures.seq2seq import marian
from lamina.model.train import TrainParameters, train
from lamina.model.transformer import Transformer

_STEPS = 1_000_000  # more than are ever asked for


def gpt_batches(shape: Shape) -> list[Batch]:
    """Full rows of one document."""
    return [_batch(rows[:, :-1], rows[:, 1:]) for rows in train_work.rows(shape)]


def bert_batches(shape: Shape) -> list[Batch]:
    """Texts packed into rows, 15 % of their tokens to be said."""
    special = np.zeros(shape.vocabulary, np.bool_)
    special[: train_work.SPECIAL] = True
    masking = Masking(mask=train_work.MASK, special=special, share=train_work.SHARE)
    random, made = np.random.default_rng(0), []
    for texts in train_work.texts(shape):
        bins = best_fit(np.asarray([len(text) for text in texts]), shape.length)
        arrays = _blank(len(bins), shape.length)
        for row, members in zip(range(len(bins)), bins, strict=True):
            _fill(arrays, row, [(texts[i], texts[i]) for i in members])
        made.append(masking.hide(Batch(**arrays), random))
    return made


def seq2seq_batches(shape: Shape) -> list[Batch]:
    """Pairs packed into rows, with the same segment on both sides."""
    made = []
    for pairs in train_work.pairs(shape):
        room = np.asarray([max(len(a), len(b)) + 1 for a, b in pairs])
        bins = best_fit(room, 2 * shape.length)
        targets, sources = _blank(len(bins), 2 * shape.length), _blank(len(bins), 2 * shape.length)
        for row, members in zip(range(len(bins)), bins, strict=True):
            ended = [(np.append(pairs[i][0], END), np.append(pairs[i][1], END)) for i in members]
            _fill(targets, row, [(np.concatenate([[START], to[:-1]]), to) for _, to in ended])
            _fill(sources, row, [(of, of) for of, _ in ended])
        made.append(
            replace(Batch(**targets), sources=sources["inputs"], source_segments=sources["segments"]),
        )
    return made


def _blank(rows: int, length: int) -> dict[str, Any]:
    arrays = {name: np.zeros((rows, length), np.int64) for name in ("inputs", "segments", "positions")}
    return arrays | {"targets": np.full((rows, length), IGNORED)}


def _fill(arrays: dict[str, Any], row: int, documents: list[tuple[Any, Any]]) -> None:
    at = 0
    for number, (inputs, targets) in enumerate(documents, 1):
        place = slice(at, at + len(inputs))
        arrays["inputs"][row, place], arrays["targets"][row, place] = inputs, targets
        arrays["segments"][row, place], arrays["positions"][row, place] = number, np.arange(len(inputs))
        at += len(inputs)


def _batch(inputs: Any, targets: Any) -> Batch:
    places = np.broadcast_to(np.arange(inputs.shape[1]), inputs.shape).copy()
    return Batch(
        inputs=np.ascontiguousarray(inputs),
        targets=np.ascontiguousarray(targets),
        segments=np.ones_like(places),
        positions=places,
    )


def model_of(work: str, shape: Shape) -> Transformer:
    """A fresh model of the shape."""
    sizes: dict[str, Any] = {"vocabulary": shape.vocabulary, "width": shape.width, "layers": shape.layers}
    sizes |= {"heads": shape.heads}
    torch.manual_seed(0)
    if work == "gpt":
        return Transformer(gpt2(**sizes, max_positions=shape.length))
    if work == "bert":
        return Transformer(bert(**sizes, inner=shape.inner))
    if work == "seq2seq":
        spec = marian(**sizes, inner=shape.inner, start_token=START, max_positions=512, dropout=0.0)
        return Transformer(spec)
    rotary = {"max_positions": train_work.POSITIONS, "theta": train_work.THETA}
    spec = llama(**sizes, kv_heads=shape.kv_heads, inner=shape.inner, **rotary)
    return Transformer(spec)


class Cycle:
    """The batches, again and again."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches, self._place = batches, 0

    def __next__(self) -> Batch:
        self._place += 1
        return self._batches[(self._place - 1) % len(self._batches)]

    def state(self) -> Mapping[str, Any]:
        """The place."""
        return {"place": self._place}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go there."""
        self._place = int(state["place"])


class _Steps:
    """Progress whose steps are the benchmark's turns."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def say(self, text: str) -> None:
        """To whoever watches."""
        sys.stderr.write(text + "\n")

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> Iterator[_Steps]:
        """The run begins."""
        self._turns.wait()
        yield self

    def advance(self, n: float = 1, **facts: Any) -> None:
        """A step is done."""
        self._turns.step(float(facts["loss"]))

    def expect(self, total: float) -> None:
        """Nobody looks."""


def main() -> None:
    """Train until nobody asks for more."""
    work, device, *rest = sys.argv[1:]
    shape = train_work.quick(SHAPES[work]) if rest else SHAPES[work]
    batches = {"gpt": gpt_batches, "lora": gpt_batches, "bert": bert_batches, "seq2seq": seq2seq_batches}[work](shape)
    model = model_of(work, shape).to(device)
    method: Any = "lora" if work == "lora" else "full"
    parameters = TrainParameters(
        steps=_STEPS,
        method=method,
        rank=16,
        alpha=32.0,
        learning_rate=1e-4,
        checkpoint_s=None,
        compile="auto" if work == "gpt" else "never",  # thirty blocks take minutes to compile
    )
    cuda = device == "cuda"
    turns = Turns(
        torch.cuda.synchronize if cuda else lambda: None,
        (lambda: torch.cuda.max_memory_allocated() / 1e6) if cuda else None,
    )
    with tempfile.TemporaryDirectory() as work_folder:
        train(
            model,
            Cycle(batches),
            parameters=parameters,
            work=Path(work_folder),
            progress=_Steps(turns),
            metrics=MetricsWriter(Path(work_folder) / "metrics.jsonl"),
        )


if __name__ == "__main__":
    main()
