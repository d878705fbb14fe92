"""Cut the power after every system call: rebuild each disk that could be left, recover from it, look what stands.

The calls of a real run are recorded with strace and replayed on a model of a disk that keeps no more than it must:
written bytes are safe after fsync or fdatasync of the file, names after fsync of the folder that holds them. Of what
is not safe, any subset may have reached the disk; unsafe bytes may be there, missing, half there, or zeros.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import lamina
from lamina.kit.durable import AppendLog, atomic_write, is_published, publish, verify

SRC = Path(lamina.__file__).parents[1]
CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir"
START = f"""
import os, sys
sys.path.insert(0, {str(SRC)!r})
from pathlib import Path
from lamina.kit.durable import AppendLog, atomic_write, publish
folder = Path(sys.argv[1])
def acknowledge(text):
    os.write(1, (text + "\\n").encode())
"""
WRITE = START + 'atomic_write(folder / "sub" / "file", b"new" * 50)\nacknowledge("done")\n'
APPEND = START + (
    'log = AppendLog(folder / "log")\nfor n in range(3):\n    log.append(b"%d" % n * 50)\n    acknowledge(str(n))\n'
)
PUBLISH = START + (
    'with publish(folder / "shelf" / "key") as staging:\n    (staging / "sub").mkdir()\n'
    '    (staging / "a").write_bytes(b"new")\n    (staging / "sub" / "b").write_bytes(b"new")\nacknowledge("done")\n'
)


@dataclass(eq=False)
class File:
    safe: bytes = b""
    now: bytes = b""

    def leftovers(self) -> list[bytes]:
        if self.safe == self.now:
            return [self.now]
        half = (len(self.safe) + len(self.now)) // 2
        zeros = self.safe + bytes(max(len(self.now) - len(self.safe), 0))
        return list(dict.fromkeys([self.safe, self.now, self.now[:half], zeros]))


Change = Callable[[dict[str, "File | Folder"]], None]


@dataclass(eq=False)
class Folder:
    safe: dict[str, File | Folder] = field(default_factory=dict)
    now: dict[str, File | Folder] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        change(self.now)
        self.changes.append(change)

    def sync(self) -> None:
        self.safe, self.changes = dict(self.now), []

    def leftovers(self) -> Iterator[dict[str, File | Folder]]:
        for kept in itertools.product([True, False], repeat=len(self.changes)):
            names = dict(self.safe)
            for change, keep in zip(self.changes, kept, strict=True):
                if keep:
                    change(names)
            yield names


def load(path: Path) -> Folder:
    """What is on the disk already is safe."""
    folder = Folder()
    for entry in path.iterdir():
        node: File | Folder
        if entry.is_dir():
            node = load(entry)
        else:
            node = File(entry.read_bytes(), entry.read_bytes())
        folder.safe[entry.name] = folder.now[entry.name] = node
    return folder


class Disk:
    """The model; ``play`` applies one recorded call."""

    def __init__(self, root: Path) -> None:
        self.root, self.top = str(root), load(root)
        self.said: list[str] = []

    def find(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self.top
        for part in [p for p in path[len(self.root) :].split("/") if p]:
            node = node.now.get(part) if isinstance(node, Folder) else None
        return node

    def parent(self, path: str) -> tuple[Folder, str]:
        above, name = path.rsplit("/", 1)
        folder = self.find(above)
        assert isinstance(folder, Folder), path
        return folder, name

    def play(self, call: str, text: str) -> None:
        strings = [ast.literal_eval("b" + s).decode("latin-1") for s in re.findall(r'"(?:[^"\\]|\\.)*"', text)]
        fd = re.match(r"(\d+)<([^>]*)>", text)
        if call == "write" and fd and fd[1] == "1":
            self.said.append(strings[0].strip())
        elif fd and fd[2].startswith(self.root) and call.endswith("at"):  # a name in the folder of a descriptor
            self._on_name(call, [f"{fd[2]}/{strings[0]}", *strings[1:]], text)
        elif fd and fd[2].startswith(self.root):
            self._on_descriptor(call, self.find(fd[2]), strings, text)
        elif strings and strings[0].startswith(self.root):
            self._on_name(call, strings, text)

    def _on_descriptor(self, call: str, node: File | Folder | None, strings: list[str], text: str) -> None:
        if node is None:  # a file without a name any more
            return
        if call in ("fsync", "fdatasync"):
            if isinstance(node, File):
                node.safe = node.now
            else:
                node.sync()
            return
        assert isinstance(node, File), (call, text)
        if call == "ftruncate":
            node.now = node.now[: int(text.rsplit(",", 1)[1].strip(" )"))]
        else:
            data = strings[-1].encode("latin-1")
            at = int(text.rsplit(",", 1)[1].strip(" )")) if call == "pwrite64" else len(node.now)
            node.now = node.now[:at].ljust(at, b"\0") + data + node.now[at + len(data) :]

    def _on_name(self, call: str, strings: list[str], text: str) -> None:
        path = strings[0]
        if call == "openat":
            if "O_CREAT" in text and self.find(path) is None:
                self._link(path, File())
        elif call in ("mkdir", "mkdirat"):
            self._link(path, Folder())
        elif call.startswith("rename"):
            self._rename(path, strings[1], exchange="EXCHANGE" in text or "0x2" in text)
        else:
            folder, name = self.parent(path)
            folder.change(lambda names: names.pop(name, None) and None)

    def _link(self, path: str, node: File | Folder) -> None:
        folder, name = self.parent(path)
        folder.change(lambda names: names.__setitem__(name, node))

    def _rename(self, source: str, target: str, *, exchange: bool) -> None:
        (folder, old), (other, new) = self.parent(source), self.parent(target)
        assert folder is other
        node, standing = folder.now[old], folder.now.get(new)

        def change(names: dict[str, File | Folder]) -> None:
            names.pop(old, None)
            names[new] = node
            if exchange and standing is not None:
                names[old] = standing

        folder.change(change)

    def leftovers(self) -> Iterator[dict[str, bytes | None]]:
        """Every disk that a power cut now may leave: path -> bytes, or None for a folder."""
        for tree in _trees(self.top):
            yield dict(tree)


def _trees(folder: Folder, above: str = "") -> Iterator[list[tuple[str, bytes | None]]]:
    for names in folder.leftovers():
        choices: list[list[list[tuple[str, bytes | None]]]] = []
        for name, node in names.items():
            path = f"{above}{name}"
            if isinstance(node, File):
                choices.append([[(path, data)] for data in node.leftovers()])
            else:
                choices.append([[(path, None), *tree] for tree in _trees(node, path + "/")])
        for choice in itertools.product(*choices):
            yield [pair for part in choice for pair in part]


def build(tree: dict[str, bytes | None], place: Path) -> None:
    place.mkdir()
    for name, data in tree.items():
        if data is None:
            (place / name).mkdir()
        else:
            (place / name).write_bytes(data)


def check_write(folder: Path, said: list[str]) -> None:
    file = folder / "sub" / "file"
    content = file.read_bytes() if file.exists() else None
    assert content in (None, b"old", b"new" * 50)
    if "done" in said:
        assert content == b"new" * 50
    atomic_write(file, b"recovered")
    assert file.read_bytes() == b"recovered"


def check_log(folder: Path, said: list[str]) -> None:
    with AppendLog(folder / "log") as log:
        rows = [row for row in log if row != b"before"]
        assert rows == [b"%d" % n * 50 for n in range(len(rows))]
        assert len(rows) >= len(said)
        log.append(b"goes on")


def check_publish(folder: Path, said: list[str]) -> None:
    key = folder / "shelf" / "key"
    if key.exists():
        verify(key)
        assert (key / "a").read_bytes() in (b"old", b"new")
    if "done" in said:
        assert is_published(key)
        assert (key / "a").read_bytes() == b"new"


def nothing(folder: Path) -> None:
    pass


def old_file(folder: Path) -> None:
    atomic_write(folder / "sub" / "file", b"old")


def old_log(folder: Path) -> None:
    with AppendLog(folder / "log") as log:
        log.append(b"before")
    with (folder / "log").open("ab") as file:
        file.write(b"torn")


def old_folder(folder: Path) -> None:
    with publish(folder / "shelf" / "key") as staging:
        (staging / "a").write_bytes(b"old")


CASES = {
    "write": (WRITE, nothing, check_write),
    "replace": (WRITE, old_file, check_write),
    "append": (APPEND, nothing, check_log),
    "append to a torn log": (APPEND, old_log, check_log),
    "publish": (PUBLISH, nothing, check_publish),
    "publish again": (PUBLISH, old_folder, check_publish),
}


@pytest.mark.parametrize("case", CASES)
def test_every_disk_that_a_power_cut_may_leave(tmp_path, case):
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-qq", "-e", "trace=none", "true"], check=False).returncode != 0:
        pytest.skip("strace is not there, or may not trace (apt-get install strace)")
    script, prepare, check = CASES[case]
    root, trace = tmp_path / "root", tmp_path / "trace"
    root.mkdir()
    prepare(root)
    disk = Disk(root)
    command = [strace, "-f", "-qq", "-y", "-s", "100000", "-o", str(trace), "-e", f"trace={CALLS}"]
    command += [sys.executable, "-I", "-S", "-B", "-c", script, str(root)]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]})
    seen, place = set(), tmp_path / "disk"
    for line in trace.read_text(encoding="latin-1").splitlines():
        called = re.match(r"\d+\s+(\w+)\((.*)\)\s+= \d", line)
        if not called:  # a call that failed changed nothing
            continue
        disk.play(called[1], called[2])
        for tree in disk.leftovers():
            state = (tuple(sorted(tree.items(), key=lambda pair: pair[0])), len(disk.said))
            if state in seen:
                continue
            seen.add(state)
            build(tree, place)
            check(place, disk.said)
            shutil.rmtree(place)
    assert disk.said  # the run was recorded to its end
    assert len(seen) >= 6
