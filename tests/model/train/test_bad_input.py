"""What can be wrong with a run from outside: each is said with its place, and the last good checkpoint stands."""

from __future__ import annotations

import importlib.util
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamina.contracts.tokens import IGNORED, Batch
from lamina.kit import disk
from lamina.kit.errors import BusyError, InputError, StageError, StorageError
from lamina.kit.process_lock import hold
from lamina.model.train import step
from lamina.model.train.state import write_tensors

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, VOCABULARY, make, run = counting.Texts, counting.VOCABULARY, counting.make, counting.run


def test_two_trainers_on_one_run(tmp_path: Path) -> None:
    with hold(tmp_path / "run.lock", "training in this folder"), pytest.raises(BusyError, match="runs already"):
        run(make(), tmp_path)
    assert run(make(), tmp_path).steps == 12  # the lock went with its holder


@pytest.mark.parametrize("place", ["publish.sync_file", "publish.manifest", "publish.rename"])
def test_a_full_disk_at_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    settings: dict[str, Any] = {"checkpoint_steps": 4}
    whole = make()
    run(whole, tmp_path / "whole", **settings)
    nth = 3 if place == "publish.sync_file" else 2  # of the second checkpoint
    disk._passages.clear()
    monkeypatch.setenv("LAMINA_FAILPOINT", f"{place}:enospc:{nth}")
    with pytest.raises(StorageError) as caught:
        run(make(), tmp_path / "full", **settings)
    assert "step-000000008" in str(caught.value)
    assert [p.name for p in (tmp_path / "full" / "checkpoints").glob("step-*")] == ["step-000000004"]
    monkeypatch.delenv("LAMINA_FAILPOINT")
    resumed = make()
    run(resumed, tmp_path / "full", **settings)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_disk_that_takes_no_weights(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(StorageError, match="cannot write the weights"):
            write_tensors({"weight": torch.zeros(1 << 20)}, tmp_path / "state.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    model = make()
    with torch.no_grad():
        model.stack.blocks[1].feedforward.up.weight[3, 0] = value
    with pytest.raises(InputError, match=r"not finite: 'decoder\.blocks\.1\.feedforward\.up\.weight'"):
        run(model, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_vocabulary_larger_than_the_embedding(tmp_path: Path) -> None:
    class Larger(Texts):
        def __next__(self) -> Batch:
            batch = super().__next__()
            batch.inputs[0, 0] = VOCABULARY
            return batch

    with pytest.raises(InputError, match=f"token {VOCABULARY}, and the model knows 0 to {VOCABULARY - 1}"):
        run(make(), tmp_path, Larger())


def test_a_batch_of_one(tmp_path: Path) -> None:
    assert run(make(), tmp_path, Texts(rows=1), steps=60).loss < 1.5


class Short(Texts):
    """Rows of documents of one token, of which nothing follows, but for each third batch."""

    def __next__(self) -> Batch:
        batch = super().__next__()
        if self.drawn % 3:
            batch.segments[:] = np.arange(1, self.length + 1)
            batch.positions[:] = 0
            batch.targets[:] = IGNORED
        return batch


def test_documents_of_one_token_teach_nothing_and_harm_nothing(tmp_path: Path) -> None:
    model = make()
    result = run(model, tmp_path, Short(), steps=6)
    assert result.tokens == 6 * 4 * 12
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    settings: dict[str, Any] = {"checkpoint_steps": 2}
    whole = make()
    run(whole, tmp_path / "whole", **settings)
    loss, calls = step.batch_loss, []

    def full(*given: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise error
        return loss(*given)

    monkeypatch.setattr(step, "batch_loss", full)
    with pytest.raises(StageError, match="4 rows of 16 tokens") as caught:
        run(make(), tmp_path / "full", **settings)
    assert "batch = 2 with accumulate doubled" in str(caught.value)
    assert "recompute = true" in str(caught.value)
    monkeypatch.undo()
    resumed = make()
    run(resumed, tmp_path / "full", **settings)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_real_allocation_that_fails() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 52, dtype=torch.float32)
    assert step.is_out_of_memory(caught.value)


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> torch.Tensor:
        raise RuntimeError("the size of tensor a must match")

    monkeypatch.setattr(step, "batch_loss", wrong)
    with pytest.raises(RuntimeError, match="must match"):
        run(make(), tmp_path)
