"""Random generators of a run, put back."""

from __future__ import annotations

import pytest
import torch

from lamina.model.train.state import random_state, restore_random


def test_the_generator_of_the_processor_goes_on_where_it_stood() -> None:
    kept = random_state(torch.device("cpu"))
    first = torch.rand(3)
    restore_random(kept, torch.device("cpu"))
    assert torch.equal(torch.rand(3), first)


def test_a_gpu_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = {"now": torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: stand["now"])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: stand.update(now=state))
    kept = random_state(torch.device("cuda"))
    stand["now"] = torch.tensor([9], dtype=torch.uint8)
    restore_random({"random": kept["random"]}, torch.device("cuda"))  # of a run that was begun without a GPU
    assert stand["now"].item() == 9
    restore_random(kept, torch.device("cuda"))
    assert stand["now"].item() == 7
    assert list(random_state(torch.device("cpu"))) == ["random"]
