"""A wheel built from the repository gives command line and web page without Node and without a compiler.

Where there was a compiler it is of its platform and carries the engine's library; else it is for any.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_the_page_and_the_library_that_its_name_tells_of(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    library = "lamina/deployment/engine/native/liblamina.so"
    assert wheel.name.endswith(f"-py3-none-{platform if library in names else 'any'}.whl")
    assert (library in names) == any(map(shutil.which, ("g++", "clang++", "c++")))
    assert "lamina/interface/static/index.html" in names
    assert any(n.startswith("lamina/interface/static/") and n.endswith(".js") for n in names)
    assert "lamina/py.typed" in names
    assert not [n for n in names if "node_modules" in n or n.startswith(("tests/", "web/"))]


def test_it_runs_without_node_or_compiler_on_the_path(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True)
    code = (
        "import lamina, lamina.interface.api.gui as gui, pathlib, sys\n"
        "assert str(pathlib.Path(lamina.__file__)).startswith(sys.argv[1]), lamina.__file__\n"
        "assert (pathlib.Path(lamina.__file__).parent / 'interface/static/index.html').is_file()\n"
        "sys.argv = ['lamina', '--help']\n"
        "from lamina.cli import main\n"
        "main()\n"
    )
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(target), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "improve" in done.stdout
