"""The stack file's rules: every mistake is named with its place and the nearest right key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit import config
from lamina.kit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Train:
    steps: int | None = None
    method: Literal["lora", "full"] = "lora"
    rate: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Root:
    name: str
    train: Train = field(default_factory=Train)
    tags: tuple[str, ...] = ()


def test_builds_nested_values_and_converts_numbers() -> None:
    root = config.build(Root, {"name": "x", "train": {"steps": 3, "rate": 1}, "tags": ["a"]}, where="f")
    assert root == Root(name="x", train=Train(steps=3, rate=1.0), tags=("a",))
    assert isinstance(root.train.rate, float)


def test_an_unknown_key_suggests_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"f\.train: no such key 'stpes' \(did you mean 'steps'\?"):
        config.build(Root, {"name": "x", "train": {"stpes": 3}}, where="f")


def test_all_mistakes_come_in_one_error() -> None:
    table = {"train": {"steps": "many", "method": "magic", "rate": float("nan")}, "tags": "a"}
    with pytest.raises(ConfigError) as caught:
        config.build(Root, table, where="f")
    text = str(caught.value)
    for part in ("f: the key 'name' is missing", "f.train.steps: 'many'", "'magic' is not one of", "nan", "f.tags"):
        assert part in text


@pytest.mark.parametrize("value", [True, 1.5, "1"])
def test_a_whole_number_is_a_whole_number(value: object) -> None:
    with pytest.raises(ConfigError, match="whole number"):
        config.build(Root, {"name": "x", "train": {"steps": value}}, where="f")


def test_overrides_reach_into_lists_and_make_sections() -> None:
    table = {"data": {"steps": [{"pass": "duplicates"}]}}
    config.override(table, ["data.steps.0.threshold=0.9", "model.base=pypi:x==1", "a.b=[1, 2]"])
    assert table == {
        "data": {"steps": [{"pass": "duplicates", "threshold": 0.9}]},
        "model": {"base": "pypi:x==1"},
        "a": {"b": [1, 2]},
    }


@pytest.mark.parametrize("assignment", ["steps", "=3", "data.steps.7.x=1"])
def test_a_malformed_override_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        config.override({"data": {"steps": []}}, [assignment])


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "lamina.toml"
    file.write_text('name = "x"\nmodel = =\n')
    with pytest.raises(ConfigError, match="line 2"):
        config.read_toml(file)
    with pytest.raises(ConfigError, match="no such file"):
        config.read_toml(tmp_path / "other.toml")


def test_bind_takes_keyword_only_parameters() -> None:
    def step(batch: object, *, threshold: float = 0.8, keep: tuple[str, ...] = ("en",)) -> None: ...

    assert config.bind(step, {"threshold": 1}, where="s") == {"threshold": 1.0, "keep": ("en",)}
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        config.bind(step, {"treshold": 1}, where="s")


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("2m", 120), ("1.5h", 5400), (7, 7)])
def test_durations(text: str | float, value: float) -> None:
    assert config.seconds(text) == value


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=4), max_size=5))
def test_any_table_is_built_or_refused_as_a_config_error(table: dict[str, object]) -> None:
    try:
        root = config.build(Root, table, where="f")
    except ConfigError:
        return
    assert root.name == table["name"]
