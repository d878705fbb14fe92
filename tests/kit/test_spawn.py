"""Children forked from a helper are what fresh interpreters would be, end with whoever asked, and leak nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lamina
from lamina.kit import spawn
from lamina.kit.errors import StageError
from lamina.kit.workers import Workers, call

SOURCES = Path(lamina.__file__).parent
PROBE = """
import os, signal, sys, threading, time

def look(payload):
    found = {"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "folder": os.getcwd()}
    places = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd") if int(n) > 2]
    found["files"] = sorted(os.readlink(place).split(":")[0] for place in places if os.path.exists(place))
    found["imported"] = [n for n in ("numpy", "pyarrow", "torch") if n in sys.modules]
    found["variable"] = os.environ.get("LAMINA_PROBE")
    found["interrupt"] = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    found["threads"] = len(os.listdir("/proc/self/task"))
    import numpy.random
    found["drawn"] = numpy.random.random()
    return found

def grandchild(payload):
    from lamina.kit.workers import call
    return [os.getpid(), os.getppid(), call("probe_of_tests:look", {})]

def wait(payload):
    with open(payload["note"], "w") as file:
        file.write(f"{os.getpid()} {os.getppid()}")
    os.rename(payload["note"], payload["note"] + ".whole")
    time.sleep(60)
"""


@pytest.fixture(scope="module", autouse=True)
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All tests here share a helper that finds the probe, and let it go."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "probe_of_tests.py").write_text(PROBE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCES.parent), str(folder)]))
        yield
    spawn.release()


def helper() -> int:
    assert spawn._helper is not None
    assert spawn._helper.process is not None
    return spawn._helper.process.pid


def wait_for(found: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_child_is_forked_and_finds_nothing_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(2) as workers:  # others live while the child looks at its files
        list(workers.map("probe_of_tests:look", [{}, {}]))
        monkeypatch.setenv("LAMINA_PROBE", "now")
        monkeypatch.chdir(tmp_path)
        found = call("probe_of_tests:look", {})
        again = call("probe_of_tests:look", {})
    assert found["parent"] == again["parent"] == helper()
    assert found["session"] == found["pid"] != again["pid"]
    assert (found["folder"], found["variable"], found["interrupt"]) == (str(tmp_path), "now", True)
    assert found["threads"] == 1
    assert found["files"] == ["pipe", "socket"]  # of its answers, and to the helper


def test_what_a_function_is_marked_with_is_imported_once_and_random_numbers_differ() -> None:
    process = call("probe_of_tests:look", {})
    assert process["imported"] == []
    child = spawn.start("lamina.kit.workers", fds=(1,), function="lamina.data.units:clean")  # imports numpy
    child.kill()
    assert child.wait(10) == -signal.SIGKILL
    found = [call("probe_of_tests:look", {}) for _ in range(2)]
    assert [f["imported"] for f in found] == [["numpy", "pyarrow"]] * 2
    assert found[0]["drawn"] != found[1]["drawn"]
    assert found[0]["parent"] == helper()


def test_the_children_of_a_child_come_from_the_same_helper() -> None:
    child, parent, found = call("probe_of_tests:grandchild", {})
    assert parent == found["parent"] == helper()
    assert found["pid"] != child


@pytest.mark.parametrize("inner", [False, True])
def test_a_child_dies_with_who_asked_for_it(tmp_path: Path, inner: bool) -> None:
    note = tmp_path / "note"
    asked = f"from lamina.kit.workers import call; call('probe_of_tests:wait', {{'note': {str(note)!r}}})"
    parent = subprocess.Popen([sys.executable, "-c", asked])
    wait_for(Path(f"{note}.whole").exists)
    child, forking = map(int, Path(f"{note}.whole").read_text().split())
    assert forking != parent.pid
    os.kill(forking if inner else parent.pid, signal.SIGKILL)
    wait_for(lambda: not alive(child) and not alive(forking), 10)
    if inner:  # the helper was killed: that is how the child ended, for who waits
        parent.wait(10)
        assert parent.returncode == 1
    parent.wait()


def test_a_helper_that_was_killed_is_replaced() -> None:
    call("probe_of_tests:look", {})
    before = helper()
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: not alive(before))
    assert call("probe_of_tests:look", {})["parent"] == helper() != before


def test_another_environment_means_another_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    call("probe_of_tests:look", {})
    before = helper()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert call("probe_of_tests:look", {})["parent"] == helper() != before
    wait_for(lambda: not alive(before))


def test_where_a_library_started_a_thread_children_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("with one processor numpy starts no thread")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    child = spawn.start("lamina.kit.workers", fds=(1,), function="lamina.data.units:clean")
    assert isinstance(child, subprocess.Popen)
    child.kill()
    child.wait()
    found = call("probe_of_tests:look", {})
    assert found["parent"] == os.getpid()
    assert found["session"] == found["pid"]


def test_a_fresh_child_that_dies_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spawn, "_can_fork", lambda: False)
    assert call("probe_of_tests:look", {})["parent"] == os.getpid()
    with pytest.raises(StageError, match="probe_of_tests"):
        call("probe_of_tests:nothing", {})


def test_the_helper_ends_when_it_is_let_go() -> None:
    call("probe_of_tests:look", {})
    before = helper()
    spawn.release()
    wait_for(lambda: not alive(before))


def test_nothing_that_functions_are_marked_with_starts_a_thread() -> None:
    """Of our data layer, where polars is near; torch is left out for its time."""
    marked = re.compile(r"^@imports\(([^)]*)\)\ndef (\w+)", re.MULTILINE)
    modules = []
    for file in sorted(SOURCES.rglob("*.py")):
        for names, _ in marked.findall(file.read_text()):
            own = ".".join(file.relative_to(SOURCES.parent).with_suffix("").parts)
            modules += [own, *re.findall(r'"([\w.]+)"', names)]
    modules = [name for name in modules if not name.startswith(("torch", "lamina.model", "lamina.deployment"))]
    assert len(modules) > 10
    code = (
        "import importlib, os\n"
        f"for name in {list(dict.fromkeys(modules))}:\n"
        "    importlib.import_module(name)\n"
        "    assert len(os.listdir('/proc/self/task')) == 1, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **spawn._QUIET})
