"""The doors: names, kinds, neighbours."""

from __future__ import annotations

import pytest

from lamina.kit.errors import ConfigError, MissingExtraError, require
from lamina.kit.registry import SOURCES, STEPS, Registry


def test_a_registered_function_is_found_with_its_parameters() -> None:
    door = Registry("tests", "test", ())

    @door("sum", kind="signal", version=3)
    def total(batch: object, *, digits: int = 2) -> None: ...

    component = door.get("sum", kind="signal")
    assert (component.version, list(component.parameters)) == (3, ["digits"])


def test_an_unknown_name_suggests_its_neighbour() -> None:
    door = Registry("tests", "test", ())
    door("language", kind="signal")(lambda batch: None)
    with pytest.raises(ConfigError, match="did you mean 'language'"):
        door.get("langauge")
    with pytest.raises(ConfigError, match="no transform 'language'"):
        door.get("language", kind="transform")


def test_the_doors_of_the_data_layer_hold_what_the_documentation_names() -> None:
    assert {"files", "books", "web", "social"} <= {c.name for c in SOURCES}
    assert {"normalize", "noise", "missing", "language", "quality", "duplicates"} <= {c.name for c in STEPS}


def test_a_missing_extra_says_how_to_get_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'lamina\[social\]'"):
        require("no_such_module", extra="social", why="to read posts")
