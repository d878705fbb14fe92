"""While a server starts nothing is searched for garbage, and modules load beside it."""

from __future__ import annotations

import gc
import sys
import weakref
from importlib import import_module
from pathlib import Path

import pytest

from lamina.kit import starting


@pytest.fixture(autouse=True)
def _as_before():
    yield
    gc.enable()
    gc.unfreeze()


class Knot:
    """Garbage that only a search finds."""

    def __init__(self) -> None:
        self.self = self


def test_what_is_there_when_the_start_is_over_is_not_searched_and_later_garbage_is() -> None:
    starting.begin()
    assert not gc.isenabled()
    early = weakref.ref(Knot())
    starting.settle()
    assert gc.isenabled()
    late = weakref.ref(Knot())
    gc.collect()
    assert early() is not None
    assert late() is None
    starting.collect()
    assert early() is None


def test_without_a_beginning_nothing_is_kept_from_searches() -> None:
    before = gc.get_freeze_count()
    starting.settle()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_modules_load_in_a_thread_and_a_broken_one_fails_where_it_is_wanted(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "lamina_beside_whole.py").write_text("import threading\nwho = threading.current_thread()\n")
    (tmp_path / "lamina_beside_broken.py").write_text("raise RuntimeError('torn')\n")
    monkeypatch.syspath_prepend(tmp_path)
    starting.import_beside("lamina_beside_whole", "lamina_beside_broken").join(20)
    assert sys.modules["lamina_beside_whole"].who.name == "imports"
    del sys.modules["lamina_beside_whole"]
    with pytest.raises(RuntimeError, match="torn"):
        import_module("lamina_beside_broken")
