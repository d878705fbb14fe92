"""An engine and adapters for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lamina.deployment.engine.engine import Engine
from lamina.model.lora import DEFAULT_TARGETS, add_lora, load_lora, lora_parameters, merge_lora, save_lora


@pytest.fixture
def engine(tiny_model, tiny_tokenizer) -> Iterator[Callable[..., Engine]]:
    """``engine(model=None, …)``: one over a tiny model, by torch's kernels and in small blocks where nothing else is
    said; a module may settle more of its options. All are closed at the test's end."""
    made: list[Engine] = []

    def make(model=None, **options) -> Engine:
        options = {"kernels": "torch", "version": "v1", "block_tokens": 8} | options
        made.append(Engine(model or tiny_model(), tiny_tokenizer, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def adapter(tmp_path, tiny_model) -> Callable[..., Path]:
    """``adapter(name, …)``: a PEFT folder with weights of its own."""

    def make(name: str, family: str = "llama", *, rank: int = 4, targets=DEFAULT_TARGETS) -> Path:
        model = tiny_model(family)
        add_lora(model, rank=rank, alpha=8.0, targets=targets)
        torch.manual_seed(len(name) + rank)
        with torch.no_grad():
            for parameter in lora_parameters(model):
                parameter.normal_(std=0.25)
        save_lora(model, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def merged() -> Callable[..., object]:
    """``merged(model, folder)``: the model with the adapter of that folder, or None, in its weights."""

    def merge(model, folder: Path | None):
        if folder is not None:
            load_lora(model, folder)
            merge_lora(model)
        return model

    return merge
