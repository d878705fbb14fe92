"""What all tests share: no internet, quiet libraries, and the material that `make setup-dev` fetched."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# As the command line sets them, before numpy and torch are there.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A process a core: two of two threads each would wait for one another (a fifth less processor time without).
    os.environ.setdefault("OMP_NUM_THREADS", "1")


#: What takes longest comes first, so that two processes end together; and what shares the demo stays in one of them.
_FIRST = ("stories", "recipes")
_TOGETHER = {"tests/stories/test_gui.py": "tests/stories/test_demo.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders first."""
    items.sort(key=lambda item: item.path.relative_to(ROOT).parts[1] not in _FIRST)


class _ByFile(LoadScopeScheduling):
    """A file's tests run one after another in one process, so that what they share is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return _TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """``pytest -n 2`` by file: see the class."""
    return _ByFile(config, log)


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that connects anywhere else than to this machine fails."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback:
            raise AssertionError(f"a test tried to connect to {address}")
        connect(self, address)  # type: ignore[arg-type]  # what a family takes is its own matter

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def plug_in() -> Callable[[Path, str, str], str]:
    """``plug_in(folder, code, entries)`` writes a package with entry points; the PYTHONPATH on which it is found."""

    def write(folder: Path, code: str, entries: str) -> str:
        about = folder / "noted_plugin-1.dist-info"
        about.mkdir(parents=True)
        (folder / "noted_plugin.py").write_text(code)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: noted-plugin\nVersion: 1\n")
        (about / "entry_points.txt").write_text(entries)
        return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])

    return write


@pytest.fixture(scope="session")
def material() -> Callable[[str], Path]:
    """The folder of a fetched package; skips where it is not at hand, which under CI is a failure."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("LAMINA_MATERIAL", ROOT / ".cache" / "material"))
        places = folder / "places.json"
        known = json.loads(places.read_text()) if places.exists() else {}
        place = Path(known.get(name, folder / name))
        if place.exists():
            return place
        missing = f"material '{name}' is not at hand: run `make setup-dev`"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    return find
