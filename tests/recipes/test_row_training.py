"""What rows are prepared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina.contracts.tokens import Rendered
from lamina.data.objectives.preferences import Answers
from lamina.model.architectures.gpt import llama
from lamina.model.train import preferences
from lamina.model.transformer import Transformer
from lamina.recipes.row_training import log_probabilities


def test_references_are_computed_where_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def answer(model: Transformer, *given: torch.Tensor) -> torch.Tensor:
        seen.extend(tensor.device.type for tensor in given)
        return torch.zeros(len(given[0]))

    monkeypatch.setattr(preferences, "answer_log_probabilities", answer)
    model = Transformer(llama(vocabulary=50, width=16, layers=1, heads=2, max_positions=8)).to("meta")
    rows = (Rendered([1, 2, 3], [False, False, True]),) * 2
    assert log_probabilities(model, Answers("dpo", rows, np.array([True]), 0)) == [0.0, 0.0]
    assert set(seen) == {"meta"}
