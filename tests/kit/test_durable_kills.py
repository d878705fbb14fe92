"""Kill the writer at every system call that changes the disk; fail the disk at each; afterwards look what stands.

strace delivers SIGKILL when the process enters the nth call of a kind. The writer is a bare Python with
``kit.durable`` alone, so that one point takes some ten milliseconds. Failpoints do the same where there is no strace.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lamina
from lamina.kit.durable import AppendLog, is_published, publish, verify

SRC = Path(lamina.__file__).parents[1]
CALLS = (
    *("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir"),
)

START = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
from pathlib import Path
from lamina.kit.durable import AppendLog, atomic_write, publish
from lamina.kit.errors import StorageError
import os
folder = Path(sys.argv[1])
def acknowledge(text):
    os.write(1, (text + "\\n").encode())
acknowledge("begun")
"""

WRITE = START + 'atomic_write(folder / "sub" / "file", b"new" * 50_000)\nacknowledge("done")\n'

APPEND = (
    START
    + """
log = AppendLog(folder / "log")
for n in range(3):
    log.append(b"%d" % n * 1000)
    acknowledge(str(n))
"""
)

PUBLISH = (
    START
    + """
with publish(folder / "shelf" / "key") as staging:
    (staging / "sub").mkdir()
    (staging / "a").write_bytes(b"new" * 1000)
    (staging / "sub" / "b").write_bytes(b"new")
acknowledge("done")
"""
)


@pytest.fixture(scope="module")
def strace():
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed (apt-get install strace); the failpoint tests below run without it")
    if subprocess.run([program, "-f", "-qq", "-e", "trace=none", "true"], check=False).returncode != 0:
        pytest.skip("this machine does not allow strace to trace")
    return program


def run(
    script: str, folder: Path, *, prefix: list[str] | None = None, failpoint: str = ""
) -> tuple[int, list[str], str]:
    """The exit status, what was acknowledged, and what was said of errors."""
    environment = {"PATH": os.environ["PATH"], "LAMINA_FAILPOINT": failpoint}
    command = [*(prefix or []), sys.executable, "-I", "-S", "-B", "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    return done.returncode, done.stdout.splitlines(), done.stderr


def points(strace: str, script: str, prepare, tmp_path: Path) -> list[tuple[str, int]]:
    """Every (call, nth) of an undisturbed run, those after "begun"."""
    folder = tmp_path / "count"
    folder.mkdir()
    prepare(folder)
    trace = tmp_path / "trace"
    status, said, error = run(
        script, folder, prefix=[strace, "-f", "-qq", "-o", str(trace), "-e", "trace=" + ",".join(CALLS)]
    )
    assert status == 0, error
    assert said[0] == "begun"
    names = re.findall(r"^\d+\s+(\w+)\(", trace.read_text(), re.MULTILINE)
    return [(name, names[: index + 1].count(name)) for index, name in enumerate(names)]


def everywhere(strace: str, script: str, prepare, check, tmp_path: Path, action: str, only=CALLS) -> int:
    """Disturb every point with ``action``; ``check`` looks at the folder afterwards. Returns the number of points."""
    wanted = [point for point in points(strace, script, prepare, tmp_path) if point[0] in only]

    def disturb(point: tuple[str, int]) -> None:
        call, nth = point
        folder = tmp_path / f"{call}-{nth}"
        folder.mkdir()
        prepare(folder)
        prefix = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
        status, said, error = run(script, folder, prefix=[*prefix, "-e", f"inject={call}:{action}:when={nth}"])
        if "signal" in action:
            assert status == -9, (point, status, error)
        check(folder, said, error, point)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(disturb, wanted))
    return len(wanted)


def nothing(folder: Path) -> None:
    pass


def old_file(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_bytes(b"old")


def check_write(folder: Path, said: list[str], error: str, point: object) -> None:
    file = folder / "sub" / "file"
    content = file.read_bytes() if file.exists() else None
    assert content in (None, b"old", b"new" * 50_000), point
    if "done" in said:
        assert content == b"new" * 50_000, point


def old_log(folder: Path) -> None:
    with AppendLog(folder / "log") as log:
        log.append(b"before")


def check_log(folder: Path, said: list[str], error: str, point: object) -> None:
    with AppendLog(folder / "log") as log:
        rows = [row for row in log if row != b"before"]
        acknowledged = [b"%d" % int(n) * 1000 for n in said[1:] if n.isdigit()]
        assert rows[: len(acknowledged)] == acknowledged, point
        assert rows == [b"%d" % n * 1000 for n in range(len(rows))], point
        log.append(b"goes on")


def old_folder(folder: Path) -> None:
    with publish(folder / "shelf" / "key") as staging:
        (staging / "a").write_bytes(b"old")


def check_publish(folder: Path, said: list[str], error: str, point: object) -> None:
    key = folder / "shelf" / "key"
    if "done" in said:
        assert is_published(key), point
        assert (key / "a").read_bytes() == b"new" * 1000
    if key.exists():
        verify(key)
        if (key / "a").read_bytes() != b"old":
            assert (key / "a").read_bytes() == b"new" * 1000
            assert (key / "sub" / "b").read_bytes() == b"new"


def check_publish_replacing(folder: Path, said: list[str], error: str, point: object) -> None:
    assert (folder / "shelf" / "key").exists(), point
    check_publish(folder, said, error, point)


CASES = {
    "write": (WRITE, nothing, check_write, 8),
    "replace": (WRITE, old_file, check_write, 5),
    "append": (APPEND, nothing, check_log, 9),
    "append more": (APPEND, old_log, check_log, 7),
    "publish": (PUBLISH, nothing, check_publish, 12),
    "publish again": (PUBLISH, old_folder, check_publish_replacing, 12),
}


@pytest.mark.parametrize("case", CASES)
def test_kill_at_every_system_call(strace, tmp_path, case):
    script, prepare, check, at_least = CASES[case]
    assert everywhere(strace, script, prepare, check, tmp_path, "signal=SIGKILL") >= at_least


def failed_well(check):
    """A disk error ends in ``StorageError`` (or in a run that could do without the call), never in anything else."""

    def look(folder: Path, said: list[str], error: str, point: object) -> None:
        check(folder, said, error, point)
        if "Traceback" in error:
            assert error.rstrip().splitlines()[-1].startswith("lamina.kit.errors.StorageError: "), (point, error)

    return look


@pytest.mark.parametrize("case", CASES)
def test_a_full_disk_at_every_write(strace, tmp_path, case):
    script, prepare, check, _ = CASES[case]
    script = script.replace(
        "def acknowledge(text):\n    os.write(1,", "def acknowledge(text):\n    os.writev(1, ["
    ).replace('.encode())\nacknowledge("begun")', '.encode()])\nacknowledge("begun")')
    if case.startswith("publish"):  # the files in the staging folder are the caller's: their errors stay OSErrors
        look = check
    else:
        look = failed_well(check)
    calls = ("write", "pwrite64", "mkdir", "ftruncate")
    assert everywhere(strace, script, prepare, look, tmp_path, "error=ENOSPC", calls) >= 1


@pytest.mark.parametrize("case", CASES)
def test_an_error_at_every_fsync(strace, tmp_path, case):
    script, prepare, check, at_least = CASES[case]

    def look(folder: Path, said: list[str], error: str, point: object) -> None:
        failed_well(check)(folder, said, error, point)
        assert "Input/output error" in error, point  # no fsync error is ever swallowed

    assert everywhere(strace, script, prepare, look, tmp_path, "error=EIO", ("fsync", "fdatasync")) >= min(at_least, 2)


def test_fsync_is_not_repeated_on_a_failed_descriptor(strace, tmp_path):
    """After EIO of the log's fdatasync: no other sync of that descriptor, the log refuses, a new one goes on."""
    script = APPEND.replace(
        '    log.append(b"%d" % n * 1000)\n    acknowledge(str(n))',
        '    try:\n        log.append(b"%d" % n * 1000)\n        acknowledge(str(n))\n'
        "    except StorageError as error:\n        acknowledge(error.what)",
    )
    trace = tmp_path / "trace"
    prefix = [strace, "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync"]
    _, said, _ = run(script, tmp_path, prefix=[*prefix, "-e", "inject=fdatasync:error=EIO:when=2"])
    assert said == [
        "begun",
        "0",
        "cannot make the log durable: Input/output error",
        "the log failed before or is closed",
    ]
    syncs = [line for line in trace.read_text().splitlines() if "fdatasync(" in line]
    assert len(syncs) == 2
    assert "EIO" in syncs[-1]
    with AppendLog(tmp_path / "log") as log:
        assert list(log) == [b"0" * 1000]


def named_failpoints() -> list[str]:
    """The failpoints that the durable layer's source names."""
    names = []
    for module in ("durable", "append_log", "disk"):
        for node in ast.walk(ast.parse((SRC / "lamina" / "kit" / f"{module}.py").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                argument = node.args[0]
                assert isinstance(argument, ast.Constant)
                names.append(argument.value)
    return names


@pytest.mark.parametrize("standing", [False, True], ids=["fresh", "standing"])
@pytest.mark.parametrize("name", named_failpoints())
def test_kill_at_every_failpoint(tmp_path, name, standing):
    room = name.split(".")[0]
    new, again = {
        "atomic_write": ("write", "replace"),
        "append_log": ("append", "append more"),
        "publish": ("publish", "publish again"),
    }[room]
    script, prepare, check, _ = CASES[again if standing else new]
    prepare(tmp_path)
    if name == "append_log.create" and standing:
        return
    status, said, error = run(script, tmp_path, failpoint=f"{name}:kill:1")
    assert status == -9, error  # the point was reached
    check(tmp_path, said, error, name)


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("how", ["enospc", "eio"])
@pytest.mark.parametrize("point", ["write", "sync"])
def test_the_logs_disk_fails_without_strace(tmp_path, nth, how, point):
    status, said, error = run(APPEND, tmp_path, failpoint=f"append_log.{point}:{how}:{nth}")
    assert status == 1
    assert "StorageError" in error.splitlines()[-1]
    assert said == ["begun", *map(str, range(nth - 1))]
    check_log(tmp_path, said, error, nth)
