"""Compiled code is kept, for as long as nothing that went into it has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.kit import numba_cache

_USE = """
import sys
sys.path.insert(0, sys.argv[1])
from lamina.kit import numba_cache
from pathlib import Path
numba_cache._PACKAGE = Path(sys.argv[1]) / "lamina"
import outer_kernels
outer_kernels.answer(1)
print(*(sum(s.values()) for s in (outer_kernels.answer.stats.cache_hits, outer_kernels.answer.stats.cache_misses)))
"""


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    (tmp_path / "lamina").mkdir()
    (tmp_path / "lamina" / "inner.py").write_text("STEP = 1\n")
    (tmp_path / "outer_kernels.py").write_text(
        "from lamina.kit.numba_cache import compiled\n"
        "from numbers_of import STEP  # and, for the key: \n"
        "#\nif False:\n    from lamina.inner import STEP\n\n\n"
        "@compiled\ndef answer(x):\n    return x + STEP\n"
    )
    (tmp_path / "numbers_of.py").write_text("STEP = 1\n")
    return tmp_path


def use(folder: Path) -> tuple[int, int]:
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    env.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", _USE, str(folder)], capture_output=True, text=True, env=env, check=True
    )
    hits, misses = done.stdout.split()
    return int(hits), int(misses)


def test_compiled_once_and_anew_when_what_it_stands_on_changes(kernels: Path) -> None:
    assert use(kernels) == (0, 1)
    assert use(kernels) == (1, 0)
    (kernels / "lamina" / "inner.py").write_text("STEP = 2\n")
    assert use(kernels) == (0, 1)


def test_the_folder_is_private(kernels: Path) -> None:
    use(kernels)
    (folder,) = (kernels / "cache" / "lamina" / "numba").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_a_kernel_imports_is_part_of_its_state() -> None:
    package = Path(numba_cache.__file__).parent.parent
    names = {f.name for f in numba_cache._imports(package / "data" / "augment" / "kernels" / "eda.py")}
    assert {"characters.py", "assemble.py", "scan.py"} <= names
