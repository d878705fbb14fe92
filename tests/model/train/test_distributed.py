"""Several processes that train one model: two of them end with the weights of one, and resume each other's runs."""

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
from safetensors.torch import load_file

from lamina.contracts.tokens import Batch
from lamina.kit.errors import ConfigError
from lamina.kit.log import read_metrics
from lamina.model.train.distributed import Team

PROCESSES = Path(__file__).with_name("processes.py")
_spec = importlib.util.spec_from_file_location("processes", PROCESSES)
assert _spec is not None
assert _spec.loader is not None
processes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(processes)
Texts, make = processes.counting.Texts, processes.counting.make

CASES: dict[str, dict[str, Any]] = {
    "rows": {"steps": 6, "rows": 3, "average": 0.5, "validate_every": 2},
    "micro-batches": {"steps": 4, "rows": 1, "accumulate": 2, "method": "lora", "rank": 4},
    "stopped": {"steps": 6, "checkpoint_steps": 2, "stop_at": 4},
    "taken up": {"steps": 6, "checkpoint_steps": 2},
    "muon": {"steps": 3, "optimizer": "muon"},
}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes ran all cases; "taken up" was begun by one."""
    folder = tmp_path_factory.mktemp("together")
    processes.run(folder / "taken up", **CASES["stopped"])
    begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*begin, str(PROCESSES), str(folder), json.dumps(CASES)],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return folder


def apart(one: Path, two: Path) -> float:
    """The largest difference of any weight."""
    ours, theirs = (load_file(folder / "trained.safetensors") for folder in (one, two))
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("case", ["rows", "micro-batches"])
def test_two_processes_end_with_the_weights_of_one(together: Path, tmp_path: Path, case: str) -> None:
    processes.run(tmp_path, **CASES[case])
    assert apart(together / case, tmp_path) < 5e-6
    ours, theirs = (list(read_metrics(folder / "metrics.jsonl")) for folder in (together / case, tmp_path))
    for one, two in zip(ours, theirs, strict=True):
        for name in ("loss_nats", "gradient_norm", "held_out_nats"):
            assert one.get(name, 0.0) == pytest.approx(two.get(name, 0.0), rel=1e-5)
    steps = "".join(f"{row['step']}\n" for row in ours)
    assert (together / case / "figures.txt").read_text() == steps, "one process is watched, by its figures"
    assert not (together / case / "model.txt").exists()
    assert (tmp_path / "model.txt").read_text() == steps


def test_one_takes_up_what_two_began_and_two_what_one_began(together: Path, tmp_path: Path) -> None:
    processes.run(tmp_path, steps=6)
    assert apart(together / "taken up", tmp_path) < 1e-6
    assert not (together / "stopped" / "trained.safetensors").exists()
    processes.run(together / "stopped", **CASES["taken up"])
    assert apart(together / "stopped", tmp_path) < 1e-6


def test_muon_is_equal_to_its_rounding(together: Path, tmp_path: Path) -> None:
    processes.run(tmp_path, **CASES["muon"])
    moved = max(float((p - q).abs().max()) for p, q in zip(make().parameters(), trained(tmp_path), strict=True))
    assert apart(together / "muon", tmp_path) < 0.1 * moved  # it turns matrices in bfloat16


def trained(folder: Path) -> list[torch.Tensor]:
    weights = load_file(folder / "trained.safetensors")
    return [weights[name] for name, _ in make().named_parameters()]


def team(rank: int, size: int) -> Team:
    made = Team()
    made.rank, made.size = rank, size
    return made


def test_shares_are_all_of_a_step_once() -> None:
    batches = [next(Texts(rows=5)), next(Texts(rows=3))]
    shares = [team(rank, 3).share(batches) for rank in range(3)]
    assert [[len(b.inputs) for b in share] for share in shares] == [[2, 1], [2, 1], [1, 1]]
    assert sum(b.learned for share in shares for b in share) == sum(b.learned for b in batches)


def test_rows_that_belong_together_stay_together() -> None:
    batch = next(Texts(rows=4))
    pairs = Batch(
        inputs=batch.inputs,
        targets=batch.targets,
        segments=batch.segments,
        positions=batch.positions,
        references=batch.inputs[:, 0].astype(float),
    )
    assert team(1, 2).share([pairs, pairs, pairs, pairs]) == [pairs, pairs]
    with pytest.raises(ConfigError, match="cannot be shared out over 2 processes"):
        team(1, 2).share([pairs])


def test_too_few_rows_are_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"batch = 2 or more, or accumulate = a multiple of 2"):
        team(0, 2).share([next(Texts(rows=1))])
