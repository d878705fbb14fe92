"""A stream of documents that count, a small model, and a run: what the tests of training share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.contracts.tokens import IGNORED, Batch
from lamina.kit.log import MetricsWriter
from lamina.kit.progress import Progress, open_progress
from lamina.model.architectures.gpt import llama
from lamina.model.train import TrainParameters, TrainResult, train
from lamina.model.train.observers import Observer
from lamina.model.transformer import Transformer

VOCABULARY = 29


class Texts:
    """A stream of packed rows: two documents of counting numbers, and padding; some targets are not learned."""

    def __init__(self, rows: int = 4, length: int = 16, stop_at: int | None = None) -> None:
        self.rows, self.length, self.drawn, self.stop_at = rows, length, 0, stop_at

    def __next__(self) -> Batch:
        if self.drawn == self.stop_at:
            raise KeyboardInterrupt
        random = np.random.default_rng(self.drawn)
        self.drawn += 1
        cut = int(random.integers(4, self.length - 4))
        lengths = (cut, self.length - cut - 2)
        inputs = np.zeros((self.rows, self.length), np.int64)
        targets = np.full_like(inputs, IGNORED)
        segments, positions = np.zeros_like(inputs), np.zeros_like(inputs)
        start = 0
        for number, length in enumerate(lengths, 1):
            first = random.integers(0, VOCABULARY, (self.rows, 1))
            run = (first + np.arange(length + 1)) % VOCABULARY
            inputs[:, start : start + length] = run[:, :-1]
            targets[:, start + 1 : start + length] = run[:, 2:]  # the first target is not learned
            segments[:, start : start + length] = number
            positions[:, start : start + length] = np.arange(length)
            start += length
        return Batch(inputs=inputs, targets=targets, segments=segments, positions=positions)

    def state(self) -> Mapping[str, Any]:
        return {"drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.drawn = state["drawn"]


def make() -> Transformer:
    torch.manual_seed(5)
    return Transformer(llama(vocabulary=VOCABULARY, width=32, layers=2, heads=4, kv_heads=2, max_positions=32))


def run(
    model: Transformer,
    work: Path,
    stream: Any = None,
    *,
    observers: Sequence[Observer] = (),
    held_out: Sequence[Batch] = (),
    progress: Progress | None = None,
    **settings: Any,
) -> TrainResult:
    settings = {"steps": 12, "precision": "float32", "learning_rate": 1e-2, "checkpoint_s": None} | settings
    return train(
        model,
        stream or Texts(),
        parameters=TrainParameters(**settings),
        work=work,
        progress=progress or open_progress("quiet"),
        metrics=MetricsWriter(work / "metrics.jsonl"),
        observers=observers,
        held_out=held_out,
    )
