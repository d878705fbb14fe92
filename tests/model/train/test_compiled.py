"""Compiled blocks: the same results, where they pay, and a run that goes on where they cannot be had."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lamina.model.train import compiled
from lamina.model.train.compiled import compare, set_compiled, worth_trying

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, make, run = counting.Texts, counting.make, counting.run

CPU = torch.device("cpu")


def plan(work: Path) -> dict[str, Any]:
    return dict(json.loads((work / "plan.json").read_text()))


@pytest.mark.skipif(not compiled.can_compile(CPU), reason="there is no C++ compiler (g++)")
def test_compiled_steps_are_the_written_ones(tmp_path: Path) -> None:
    script = Path(__file__).with_name("compiled_steps.py")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, script, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_compiler_that_fails_costs_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such instruction\nand more")

    monkeypatch.setattr(compiled, "can_compile", lambda device: True)
    monkeypatch.setattr("lamina.model.train.plan.can_compile", lambda device: True)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: setattr(self, "_compiled_call_impl", broken))
    one, two = make(), make()
    run(one, tmp_path / "one")
    assert not run(two, tmp_path / "two", compile="always").compiled
    assert "RuntimeError: no such instruction" in plan(tmp_path / "two")["compiling"]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    kept = plan(tmp_path / "two") | {"compiled": True}  # and where a resumed run finds none
    (tmp_path / "two" / "plan.json").write_text(json.dumps(kept))
    run(make(), tmp_path / "two", compile="always")


def test_what_does_not_pay_is_not_kept() -> None:
    model, seconds = make(), {True: 0.9, False: 1.0}

    def step() -> float:
        return seconds[model.stack.blocks[0]._compiled_call_impl is not None]

    kept, taken, words = compare(model, step, 1.0)
    assert (kept, taken) == (True, 0.9)
    assert "0.900 s a step against 1.000 s" in words
    set_compiled(model, on=False)
    seconds[True] = 0.99
    assert compare(model, step, 1.0)[:2] == (False, 0.99)
    assert model.stack.blocks[0]._compiled_call_impl is None


def test_short_runs_try_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "can_compile", lambda device: True)
    assert not worth_trying(120.0, CPU)
    assert worth_trying(1200.0, CPU)
    run(make(), tmp_path, compile="auto")
    assert plan(tmp_path)["compiling"] is None
