"""The build hook compiles the engine's library when it must, and says what is missing when it cannot."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``hatch_build`` with one small source, 100 s old."""
    spec = importlib.util.spec_from_file_location("hatch_build_of_a_test", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }\n')
    os.utime(source, (source.stat().st_atime, source.stat().st_mtime - 100))
    monkeypatch.setattr(module, "NATIVE", tmp_path)
    monkeypatch.setattr(module, "LIBRARY", tmp_path / "liblamina.so")
    monkeypatch.delenv("CXX", raising=False)
    return module


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_built_once_and_anew_when_a_source_changes(hook: ModuleType, tmp_path: Path) -> None:
    assert hook.build_native()
    assert not hook.build_native()
    (tmp_path / "one.cpp").write_text("not C++\n")
    os.utime(tmp_path / "one.cpp", (2**31 - 1, 2**31 - 1))
    with pytest.raises(hook.BuildError, match=r"g\+\+ failed(?s:.*)one.cpp"):
        hook.build_native()
    assert not hook.LIBRARY.exists(), "a library that is older than its sources must not serve"


def test_without_a_compiler_it_says_so(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(hook.BuildError, match="no C\\+\\+ compiler"):
        hook.build_native()
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(hook.BuildError, match="no-such-compiler"):
        hook.build_native()
    (tmp_path / "one.cpp").unlink()
    assert not hook.build_native(), "a package without sources has nothing to build"
