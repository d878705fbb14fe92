"""What rows are prepared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lamina.contracts.tokens import Rendered
from lamina.data.objectives.preferences import Answers
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.model.architectures.gpt import llama
from lamina.model.train import preferences
from lamina.model.transformer import Transformer
from lamina.recipes.row_plan import RowPlan
from lamina.recipes.row_training import log_probabilities
from lamina.recipes.run_context import run_context
from lamina.recipes.stack import open_stack


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


@pytest.mark.parametrize(("key", "license"), [("", None), ('license = "CC0-1.0"', "CC0-1.0")])
def test_the_licence_of_rows_is_told_and_decides_nothing(tmp_path: Path, key: str, license: str | None) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\n")
    file = tmp_path / "lamina.toml"
    form = 'name = "x"\n[model]\nbase = "b"\n[model.train]\nobjective = "classification"\nmethod = "full"\nsteps = 1\n'
    file.write_text(form + f'[model.train.rows]\nfrom = "rows.csv"\n{key}\n')
    stack = open_stack(file)
    assert stack.model is not None
    assert stack.model.train is not None
    progress = open_progress("quiet")
    workshop = Workshop(stack.state, progress)
    rows = RowPlan(stack, workshop, progress).rows
    assert rows.context["license"] == license
    assert "license" not in rows.parameters["rows"], "the same rows under another name are no others"
    told = run_context(
        stack, stack.model.train, workshop, base=None, corpus=None, rows_license=rows.context["license"]
    )["about"]
    assert (told["rows"], told["rows_license"]) == ("rows.csv", license)
