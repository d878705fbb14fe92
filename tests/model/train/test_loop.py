from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamina.contracts.tokens import IGNORED, Batch
from lamina.kit.errors import ConfigError, CorruptError, StageError
from lamina.kit.log import read_metrics
from lamina.model.lora import lora_layers
from lamina.model.train.objectives import batch_loss
from lamina.model.transformer import Transformer

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, VOCABULARY, make, run = counting.Texts, counting.VOCABULARY, counting.make, counting.run


def same(a: Transformer, b: Transformer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_it_learns(tmp_path: Path, method: str, schedule: str):
    model = make()
    before = {name: p.clone() for name, p in model.named_parameters()}
    result = run(model, tmp_path, steps=60, method=method, schedule=schedule, rank=8, alpha=32.0)
    rows = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert [row["step"] for row in rows] == list(range(1, 61))
    start = rows[0]["loss_nats"]
    assert result.loss < (0.5 if method == "full" else start - 0.4)  # adapters on frozen random weights get less far
    assert result.tokens == rows[-1]["tokens"] == 60 * 4 * 12
    assert not list(lora_layers(model))
    unchanged = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert ("decoder.embeddings.token.weight" in unchanged) == (method == "lora")


def test_accumulation_equals_one_large_batch():
    batch = next(Texts(rows=8))
    batch.targets[:3] = IGNORED  # ragged: the parts have different numbers of learned tokens
    whole, parts = make(), make()
    device = torch.device("cpu")
    (batch_loss(whole, batch, device) / batch.learned).backward()
    for rows in (slice(0, 1), slice(1, 4), slice(4, 8)):
        names = ("inputs", "targets", "segments", "positions")
        part = Batch(**{name: getattr(batch, name)[rows] for name in names})
        if part.learned:
            (batch_loss(parts, part, device) / batch.learned).backward()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_accumulated_training_equals_large_batches(tmp_path: Path):
    class Halves(Texts):
        """The same rows in twice as many batches."""

        def __next__(self) -> Batch:
            whole = Texts(rows=4)
            whole.drawn = self.drawn // 2
            batch = next(whole)
            rows = slice(0, 1) if self.drawn % 2 == 0 else slice(1, 4)
            self.drawn += 1
            return Batch(**{n: getattr(batch, n)[rows] for n in ("inputs", "targets", "segments", "positions")})

    one, two = make(), make()
    run(one, tmp_path / "one", steps=6)
    run(two, tmp_path / "two", Halves(), steps=6, accumulate=2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_the_learned_tokens():
    model, batch = make(), next(Texts())
    loss = batch_loss(model, batch, torch.device("cpu"))
    hidden = model(torch.from_numpy(batch.inputs), segments=torch.from_numpy(batch.segments))
    logits = model.logits(hidden).flatten(0, 1)
    wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.targets).flatten(), reduction="sum")
    torch.testing.assert_close(loss, wanted)


def test_recomputing_changes_nothing_but_what_is_kept(tmp_path: Path) -> None:
    plain, again = make(), make()
    run(plain, tmp_path / "plain", steps=5)
    run(again, tmp_path / "again", steps=5, recompute=True)
    assert same(plain, again)
    kept: dict[bool, int] = {}
    for recompute in (False, True):
        again.train()
        again.decoder.recompute = recompute
        saved: list[int] = []

        def note(tensor: torch.Tensor, saved: list[int] = saved) -> torch.Tensor:
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            batch_loss(again, next(Texts()), torch.device("cpu"))
        kept[recompute] = sum(saved)
    assert kept[True] < kept[False] / 2


class TestResume:
    @pytest.mark.parametrize("method", ["full", "lora"])
    @pytest.mark.parametrize("killed_at", [1, 5, 8])
    def test_ends_with_the_same_weights(self, tmp_path: Path, method: str, killed_at: int):
        settings = {"steps": 12, "method": method, "checkpoint_steps": 3, "accumulate": 2}
        whole, broken = make(), make()
        run(whole, tmp_path / "whole", **settings)
        with pytest.raises(KeyboardInterrupt):
            run(broken, tmp_path / "broken", Texts(stop_at=2 * killed_at + 1), **settings)
        resumed = make()
        result = run(resumed, tmp_path / "broken", **settings)
        assert same(whole, resumed)
        figures = [
            [(row["step"], row["loss_nats"], row["tokens"]) for row in read_metrics(tmp_path / name / "metrics.jsonl")]
            for name in ("whole", "broken")
        ]
        assert figures[0] == figures[1]
        assert result.steps == 12

    def test_a_finished_run_is_not_done_again(self, tmp_path: Path):
        first, second = make(), make()
        done = run(first, tmp_path, checkpoint_s=100.0)
        stream = Texts(stop_at=1)  # a look at the first batch, no more
        again = run(second, tmp_path, stream, checkpoint_s=100.0)
        assert same(first, second)
        assert (again.loss, again.tokens) == (done.loss, done.tokens)

    def test_a_damaged_checkpoint_gives_way_to_the_one_before(self, tmp_path: Path, caplog):
        whole, resumed = make(), make()
        run(whole, tmp_path, checkpoint_steps=4)
        newest = max((tmp_path / "checkpoints").iterdir())
        assert newest.name == "step-000000012"
        data = bytearray((newest / "state.safetensors").read_bytes())
        data[-1] ^= 1
        (newest / "state.safetensors").write_bytes(data)
        run(resumed, tmp_path, checkpoint_steps=4)
        assert "damaged" in caplog.text
        assert same(whole, resumed)

    def test_all_damaged_is_an_error(self, tmp_path: Path):
        run(make(), tmp_path, checkpoint_steps=6)
        for path in (tmp_path / "checkpoints").iterdir():
            (path / "state.json").write_text("{}")
        with pytest.raises(CorruptError, match=r"state\.json"):
            run(make(), tmp_path, checkpoint_steps=6)

    def test_two_checkpoints_are_kept(self, tmp_path: Path):
        run(make(), tmp_path, checkpoint_steps=2)
        names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
        assert names == ["step-000000010", "step-000000012"]

    def test_other_parameters_are_refused(self, tmp_path: Path):
        run(make(), tmp_path)
        with pytest.raises(ConfigError, match="other parameters"):
            run(make(), tmp_path, learning_rate=0.5)


class TestBudget:
    def test_becomes_a_step_count_that_a_resumed_run_keeps(self, tmp_path: Path):
        result = run(make(), tmp_path, steps=None, budget_s=1.5)
        plan = json.loads((tmp_path / "plan.json").read_text())
        assert plan["steps"] == result.steps > 3
        assert result.seconds < 15.0
        plan["steps"] += 2
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        assert run(make(), tmp_path, steps=None, budget_s=1.5).steps == plan["steps"]

    def test_caps_given_steps(self, tmp_path: Path):
        assert run(make(), tmp_path / "few", steps=3, budget_s=60.0).steps == 3
        assert run(make(), tmp_path / "many", steps=10**6, budget_s=0.3).steps < 10**4

    def test_measuring_leaves_no_trace(self, tmp_path: Path):
        one, two = make(), make()
        count = run(one, tmp_path / "budget", steps=None, budget_s=0.5, method="lora").steps
        run(two, tmp_path / "steps", steps=count, method="lora")
        assert same(one, two)


def test_precision_is_measured_and_recorded(tmp_path: Path):
    result = run(make(), tmp_path, precision="auto")
    assert result.precision in ("float32", "bfloat16")
    assert json.loads((tmp_path / "plan.json").read_text())["precision"] == result.precision


def test_bfloat16_learns_too(tmp_path: Path):
    model = make()
    assert run(model, tmp_path, steps=60, precision="bfloat16").loss < 0.6
    assert next(model.parameters()).dtype == torch.float32


def test_a_run_that_diverges_says_so(tmp_path: Path):
    model = make()
    model.stack.norm.register_forward_hook(lambda _module, _inputs, out: out * float("nan"))
    with pytest.raises(StageError, match="not finite in 5 steps"):
        run(model, tmp_path)


def test_one_bad_step_is_passed_over(tmp_path: Path):
    model, calls = make(), []

    def poison(_module, _inputs, out):
        calls.append(1)
        return out * float("nan") if len(calls) == 4 else out  # the first is the look at the attention's kernels

    handle = model.stack.norm.register_forward_hook(poison)
    result = run(model, tmp_path)
    handle.remove()
    assert result.steps == 12
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl") if row["loss_nats"] is None] == [3]


def test_a_stream_without_learned_tokens_is_refused(tmp_path: Path):
    class Mute(Texts):
        def __next__(self) -> Batch:
            batch = super().__next__()
            batch.targets[:] = IGNORED
            return batch

    with pytest.raises(ConfigError, match="not one token"):
        run(make(), tmp_path, Mute(rows=1, length=10))


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_loop as t
class Slow(t.Texts):
    def __next__(self):
        print("step", flush=True)
        import time; time.sleep(0.02)
        return super().__next__()
t.run(t.make(), Path({work!r}), Slow(), steps=100000)
"""


def test_sigterm_saves_and_ends(tmp_path: Path):
    code = CHILD.format(tests=str(Path(__file__).parent), work=str(tmp_path))
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert child.stdout is not None
    for _ in range(12):
        assert child.stdout.readline() == b"step\n"
    child.send_signal(signal.SIGTERM)
    child.stdout.read()
    assert child.wait(timeout=60) == -signal.SIGTERM
    (saved,) = (tmp_path / "checkpoints").iterdir()
    steps = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert json.loads((saved / "state.json").read_text())["step"] == steps[-1] > 5


class Watcher:
    """Draws random numbers, sets the mode, and notes what it was told."""

    needs_model = True

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.seen: list[int] = []
        self.closed = 0

    def begin(self, model: Transformer, step: int, plan: object, progress: object) -> None:
        self.model = model.eval()
        self.begun.append(step)

    def see(self, facts: dict[str, float]) -> dict[str, str]:
        torch.rand(3)
        self.model.eval()
        self.seen.append(int(facts["step"]))
        return {"seen": str(len(self.seen))}

    def close(self, *, well: bool) -> None:
        self.closed += 1


class TestObservers:
    def test_they_see_every_step_and_change_nothing(self, tmp_path: Path) -> None:
        plain, watched, watcher = make(), make(), Watcher()
        run(plain, tmp_path / "plain", steps=6)
        run(watched, tmp_path / "watched", steps=6, observers=[watcher])
        assert same(plain, watched)
        assert (watcher.begun, watcher.seen, watcher.closed) == ([0], [1, 2, 3, 4, 5, 6], 1)

    def test_a_resumed_run_says_where_it_stands(self, tmp_path: Path) -> None:
        first, second = Watcher(), Watcher()
        with pytest.raises(KeyboardInterrupt):
            run(make(), tmp_path, Texts(stop_at=5), steps=8, checkpoint_steps=2, observers=[first])
        run(make(), tmp_path, steps=8, checkpoint_steps=2, observers=[second])
        assert first.closed == 1
        assert second.begun == [first.seen[-1] // 2 * 2] == [second.seen[0] - 1]
