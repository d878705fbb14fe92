"""An engine for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lamina.deployment.engine.engine import Engine


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
