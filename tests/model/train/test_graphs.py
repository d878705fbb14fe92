"""Micro-batches as CUDA graphs give the gradients that they give as they are written."""

from __future__ import annotations

import dataclasses
import importlib.util
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lamina.contracts.tokens import IGNORED, Batch
from lamina.model.device import triton_kernels
from lamina.model.lora import add_lora
from lamina.model.train import graphs
from lamina.model.train.distributed import Team
from lamina.model.train.graphs import Graphs
from lamina.model.train.objectives import Aims, Counts
from lamina.model.train.step import Step
from lamina.model.transformer import Transformer

_spec = importlib.util.spec_from_file_location("objectives", Path(__file__).with_name("test_objectives.py"))
assert _spec is not None
assert _spec.loader is not None
objectives = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(objectives)
KINDS = ["causal", "masked", "seq2seq", "t5"]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def whole_rows(count: int) -> Batch:
    """One document a row, all of it learned."""
    batch = objectives.rows("causal", count)
    ones = np.ones_like(batch.inputs)
    places = np.broadcast_to(np.arange(ones.shape[1]), ones.shape).copy()
    return dataclasses.replace(batch, targets=batch.inputs.copy(), segments=ones, positions=places)


def gradients(step: Step, batches: list[Batch], *, captured: bool) -> tuple[float, dict[str, torch.Tensor]]:
    model, kept = step._model, step._graphs
    if not captured:
        step._graphs = None
    model.zero_grad(set_to_none=True)
    loss = step.backward(batches, "float32").item()
    step._graphs = kept
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_alike(step: Step, batches: list[Batch]) -> None:
    loss, found = gradients(step, batches, captured=True)
    expected, wanted = gradients(step, batches, captured=False)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert found.keys() == wanted.keys()
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-3, atol=1e-4 * largest, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_that_are_always_made_change_nothing(kind: str) -> None:
    model, batch = objectives.make(kind).eval(), objectives.rows(kind, 6)
    if kind == "causal":
        batch = dataclasses.replace(batch, segments=np.minimum(batch.segments, 1))  # no mask is needed here
    more = {"segments": torch.from_numpy(batch.segments)}
    if batch.sources is not None and batch.source_segments is not None:
        more |= {"sources": torch.from_numpy(batch.sources), "source_segments": torch.from_numpy(batch.source_segments)}
    ids = torch.from_numpy(batch.inputs)
    with torch.no_grad():
        looked, always = model(ids, **more), model(ids, **more, always_mask=True)
    real = more["segments"] > 0
    torch.testing.assert_close(always[real], looked[real], rtol=1e-5, atol=1e-6)


def test_learned_places_are_filled_up_to_a_number_that_comes_again() -> None:
    batch = objectives.rows("masked", 16)
    arrays = graphs._arrays(batch, Counts(7, 1), causal=False)
    learned = int((batch.targets != IGNORED).sum())
    assert len(arrays["places"]) % (batch.targets.size // 16) == 0
    assert 0 <= len(arrays["places"]) - learned < batch.targets.size // 16
    assert (arrays["wanted"] != IGNORED).sum() == learned
    np.testing.assert_array_equal(batch.targets.reshape(-1)[arrays["places"][:learned]], arrays["wanted"][:learned])
    assert arrays["count"] == 7


def test_segments_are_told_where_they_count() -> None:
    packed, padded = objectives.rows("causal", 3), objectives.rows("pretraining", 3)
    cases = ((whole_rows(3), False, False), (packed, True, True), (padded, True, False), (padded, False, True))
    for batch, causal, told in cases:
        assert ("segments" in graphs._arrays(batch, Counts(), causal=causal)) == told


def test_other_losses_are_not_captured() -> None:
    model = objectives.make("classify")
    captured = Graphs(model, Aims(), lambda precision: nullcontext())
    assert captured.backward(objectives.rows("classify", 4), Counts(), "float32") is None
    model = objectives.make("causal")
    model.stack.recompute = True
    assert Graphs(model, Aims(), lambda precision: nullcontext()).backward(whole_rows(2), Counts(), "float32") is None


def test_a_form_that_cannot_be_captured_costs_no_other(monkeypatch) -> None:
    model, given = objectives.make("causal"), {"cannot": False, "tried": 0}

    def capture(self: Graphs, arrays: Any, precision: str) -> Any:
        given["tried"] += 1
        return None if given["cannot"] else graphs._Captured(Replayed(), Anything(), [], torch.ones(()))

    class Replayed:
        def replay(self) -> None: ...

    class Anything(dict[str, torch.Tensor]):
        def __missing__(self, name: str) -> torch.Tensor:
            return torch.zeros(()).expand(0)

    monkeypatch.setattr(Graphs, "_try_capture", capture)
    monkeypatch.setattr(torch.Tensor, "copy_", lambda self, other: self)
    captured = Graphs(model, Aims(), lambda precision: nullcontext())
    assert captured.backward(whole_rows(2), Counts(), "float32") is not None
    given["cannot"] = True
    for _ in range(2):
        assert captured.backward(whole_rows(3), Counts(), "float32") is None
    assert captured.backward(whole_rows(2), Counts(), "float32") is not None
    assert given["tried"] == 2


def test_memory_that_graphs_hold_is_given_up_for_a_step() -> None:
    class Full:
        on = True

        def backward(self, batch: Batch, counts: Counts, precision: str) -> torch.Tensor | None:
            if self.on and batch.inputs.shape[0] == 3:
                raise torch.OutOfMemoryError("no room")
            return None

        def forget(self, *, for_good: bool = False) -> bool:
            before, self.on = self.on, not for_good and self.on
            return before

    batches = [whole_rows(2), whole_rows(3)]
    plain, step = (Step(objectives.make("causal"), Aims(), torch.device("cpu"), Team()) for _ in range(2))
    step._graphs = Full()  # type: ignore[assignment]
    assert step.backward(batches, "float32").item() == plain.backward(batches, "float32").item()
    for ours, theirs in zip(step._model.parameters(), plain._model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)  # nothing of the first try is left in them


def test_a_step_is_gone_with_its_last_reference() -> None:
    gone = weakref.ref(Step(objectives.make("causal"), Aims(), torch.device("cuda"), Team()))
    assert gone() is None  # what it holds on a GPU does not wait for a search for garbage


def on_gpu(model: Transformer) -> Step:
    device = torch.device("cuda")
    return Step(model.to(device).train(), Aims(), device, Team())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_written_pass(kind: str) -> None:
    step = on_gpu(objectives.make(kind))
    for seed in range(3):  # the first captures, the others replay
        assert_alike(step, [objectives.rows(kind, 16, seed=seed)])
    assert_alike(step, [objectives.rows(kind, 16, seed=seed) for seed in (4, 5, 6)])
    assert step._graphs is not None
    assert step._graphs._captured


@pytest.mark.gpu
@needs_gpu
def test_adapters_alone_get_gradients() -> None:
    model = objectives.make("causal")
    add_lora(model, rank=4, alpha=8.0)
    step = on_gpu(model)
    assert_alike(step, [whole_rows(4)])
    assert_alike(step, [whole_rows(4), objectives.rows("causal", 4)])


@pytest.mark.gpu
@needs_gpu
def test_captured_and_written_passes_add_up() -> None:
    step = on_gpu(objectives.make("pretraining"))
    tokens = dataclasses.replace(objectives.rows("pretraining", 8), labels=None)  # captured; with labels it is not
    assert_alike(step, [objectives.rows("pretraining", 8), tokens, objectives.rows("pretraining", 8), tokens])


@pytest.mark.gpu
@needs_gpu
def test_what_cannot_be_captured_is_computed_as_it_is_written(monkeypatch, caplog) -> None:
    monkeypatch.setattr(Graphs, "_pass", lambda *_: (_ for _ in ()).throw(RuntimeError("not in a capture")))
    step = on_gpu(objectives.make("causal"))
    assert_alike(step, [whole_rows(4)])
    assert "not in a capture" in caplog.text


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_the_loss_equals_torchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    kernels: Any = triton_kernels("lamina.model.train.cuda_kernels")
    scores = (4 * torch.randn(7, 9001, device="cuda")).to(dtype)
    targets = torch.tensor([3, 9000, IGNORED, 77, 5000, 0, IGNORED], device="cuda")
    exact = scores.float().clone().requires_grad_()
    expected = F.cross_entropy(exact, targets, reduction="sum")
    expected.backward()
    assert float(kernels.cross_entropy(scores, targets, wanted=False)) == pytest.approx(expected.item(), rel=1e-5)
    kernels.cross_entropy(scores, targets, wanted=True)
    torch.testing.assert_close(scores.float(), exact.grad, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-6)
