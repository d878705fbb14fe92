"""Files that steps name: found beside the stack file, and part of what makes a corpus stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.kit.errors import LaminaError
from lamina.kit.progress import open_progress
from lamina.recipes.stack import open_stack
from lamina.recipes.step_files import Placing, place, placed

HEAD = 'name = "x"\n[[data.sources]]\nuse = "files"\nfrom = "docs"\n'


def placing(folder: Path, steps: str) -> Placing:
    (folder / "lamina.toml").write_text(HEAD + steps)
    stack = open_stack(folder / "lamina.toml")
    assert stack.data is not None
    return place(stack, stack.data.steps or (), open_progress("quiet"))


def test_a_path_starts_beside_the_stack_file_and_its_content_is_what_counts(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "ads.txt").write_text("ads.example\n")
    steps = '[[data.steps]]\nsignal = "url_lists"\nblock = ["lists"]\n'
    found = placing(tmp_path, steps)
    assert found.parameters["steps"] == [{"signal": "url_lists", "block": ["lists"]}]
    wanted = [{"signal": "url_lists", "block": [str(tmp_path / "lists")]}]
    assert placed({**found.parameters, "context": found.context}) == wanted
    (tmp_path / "lists" / "ads.txt").touch()
    assert placing(tmp_path, steps).parameters == found.parameters
    (tmp_path / "lists" / "ads.txt").write_text("other.example\n")
    assert placing(tmp_path, steps).parameters != found.parameters


def test_steps_without_files_stay_as_they_are(tmp_path: Path) -> None:
    found = placing(tmp_path, '[[data.steps]]\nsignal = "language"\n')
    assert found.parameters == {"steps": [{"signal": "language"}]}
    assert placed({**found.parameters, "context": found.context}) == [{"signal": "language"}]


def test_what_a_recipe_says_is_part_of_the_key(tmp_path: Path) -> None:
    found = placing(tmp_path, '[[data.steps]]\nrecipe = "c4"\nwithout = ["c4_sentences"]\n')
    assert {"decide": "NOT c4_curly_bracket", "reason": "C4: c4_curly_bracket"} in found.parameters["recipes"]
    assert "c4_sentences" not in str(found.parameters["recipes"])


def test_a_missing_file_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match=r"data\.steps\.0\.labels.*no such file"):
        placing(tmp_path, '[[data.steps]]\nsignal = "quality_model"\nlabels = "nowhere.jsonl"\n')
