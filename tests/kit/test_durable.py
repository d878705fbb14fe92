from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import lamina
from lamina.kit import disk, durable
from lamina.kit.durable import (
    MANIFEST,
    atomic_write,
    digest_folder,
    is_published,
    publish,
    read_manifest,
    sweep,
    verify,
)
from lamina.kit.errors import CorruptError, StorageError

SRC = Path(lamina.__file__).parents[1]


def make(path: Path, **files: str) -> Path:
    with publish(path) as staging:
        for name, text in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_text(text)
    return path


def litter(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_atomic_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "c.json"
    atomic_write(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert litter(path.parent) == []


def test_atomic_write_takes_the_longest_name(tmp_path):
    path = tmp_path / ("ü" * 127)
    atomic_write(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("point", ["write", "sync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_atomic_write_that_fails_leaves_the_old(tmp_path, monkeypatch, point, number):
    path = tmp_path / "f"
    atomic_write(path, b"old")
    name = "enospc" if number == errno.ENOSPC else "eio"
    monkeypatch.setattr(disk, "_passages", disk.Counter())
    monkeypatch.setenv("LAMINA_FAILPOINT", f"atomic_write.{point}:{name}:1")
    with pytest.raises(StorageError) as caught:
        atomic_write(path, b"new")
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert path.read_bytes() == b"old"
    assert litter(tmp_path) == []
    atomic_write(path, b"new")  # the disk is well again
    assert path.read_bytes() == b"new"


def test_no_fsync_is_tried_twice_on_a_descriptor(tmp_path, monkeypatch):
    calls = []

    def fsync(fd: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{fd}"))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError):
        atomic_write(tmp_path / "f", b"x")
    assert len(calls) == 1


def test_sweep_removes_what_no_living_writer_holds(tmp_path):
    path = tmp_path / "f"
    dead, alive, other = (tmp_path / f".{n}.tmp" for n in ("f.000000000000", "f.000000000001", "g.000000000002"))
    for file in (dead, alive, other):
        file.write_bytes(b"half")
    holder = os.open(alive, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert sweep(path) == []  # too young: its writer may not have locked it yet
    assert sweep(path, older_than_s=0) == [dead]
    os.close(holder)
    old = time.time() - 3600
    os.utime(alive, (old, old))
    atomic_write(path, b"x")
    assert litter(tmp_path) == [other.name]


def test_publish_writes_the_manifest_and_verifies(tmp_path):
    path = make(tmp_path / "corpora" / "k", **{"data/a.txt": "one", "b.txt": "two"})
    manifest = read_manifest(path)
    assert manifest["format"] == 1
    assert set(manifest["files"]) == {"data/a.txt", "b.txt"}
    assert manifest["files"]["b.txt"]["size"] == 3
    verify(path)
    assert is_published(path)
    assert litter(path.parent) == []


def test_nothing_is_published_when_the_block_fails(tmp_path):
    def fail() -> None:
        with publish(tmp_path / "k") as staging:
            (staging / "a").write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert list(tmp_path.iterdir()) == []
    assert not is_published(tmp_path / "k")


def test_publish_over_a_standing_folder_exchanges_it(tmp_path):
    path = make(tmp_path / "k", a="old")
    seen = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                seen.add((path / "a").read_text())
            except OSError as error:
                seen.add(repr(error))

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(20):
        make(path, a=f"new{turn}")
    stop.set()
    reader.join()
    assert all(text == "old" or text.startswith("new") for text in seen), seen
    assert (path / "a").read_text() == "new19"
    verify(path)
    assert litter(tmp_path) == []


def test_publish_where_folders_cannot_be_exchanged(tmp_path, monkeypatch):
    path = make(tmp_path / "k", a="old")

    def refuse(new: Path, old: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(durable, "swap_folders", refuse)
    make(path, a="new")
    verify(path)
    assert (path / "a").read_text() == "new"
    assert litter(tmp_path) == []


@pytest.mark.parametrize("point", ["sync_file", "manifest", "rename"])
def test_publish_on_a_failing_disk_leaves_the_old(tmp_path, monkeypatch, point):
    path = make(tmp_path / "k", a="old")
    monkeypatch.setattr(disk, "_passages", disk.Counter())
    monkeypatch.setenv("LAMINA_FAILPOINT", f"publish.{point}:enospc:1")
    with pytest.raises(StorageError, match="space"):
        make(path, a="new")
    verify(path)
    assert (path / "a").read_text() == "old"
    assert litter(tmp_path) == []


def test_a_link_is_not_published(tmp_path):
    def link() -> None:
        with publish(tmp_path / "k") as staging:
            (staging / "secret").symlink_to("/etc/hostname")

    with pytest.raises(StorageError, match="regular files"):
        link()
    assert not (tmp_path / "k").exists()


def test_the_digest_names_the_content(tmp_path):
    one, two, three = make(tmp_path / "1", a="x"), make(tmp_path / "2", a="x"), make(tmp_path / "3", a="y")
    assert digest_folder(one) == digest_folder(two) != digest_folder(three)
    assert digest_folder(make(tmp_path / "4", b="x")) != digest_folder(one)


def test_every_flip_and_cut_of_a_published_byte_is_found(tmp_path):
    path = make(tmp_path / "k", **{"a.bin": "0123456789" * 40, "sub/b.bin": "z" * 99, "empty": ""})
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    names = ["a.bin", "sub/b.bin"]
    for _ in range(300):
        name = rng.choice(names)
        whole = (path / name).read_bytes()
        if rng.random() < 0.2:
            broken = whole[: rng.randrange(len(whole))]
        else:
            at = rng.randrange(len(whole))
            broken = whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :]
        (path / name).write_bytes(broken)
        with pytest.raises(CorruptError, match=name.rsplit("/")[-1]):
            verify(path)
        (path / name).write_bytes(whole)
    verify(path)


def test_no_flip_of_a_manifest_byte_lets_wrong_names_through(tmp_path):
    path = make(tmp_path / "k", a="content", b="other")
    whole = (path / MANIFEST).read_bytes()
    before = read_manifest(path)
    for at in range(len(whole)):
        (path / MANIFEST).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            verify(path)
        except CorruptError:
            continue
        assert read_manifest(path)["files"] == before["files"]  # a flip in white space


def test_missing_and_foreign_files_are_named(tmp_path):
    path = make(tmp_path / "k", a="x", b="y")
    (path / "c").write_text("not ours")
    with pytest.raises(CorruptError, match="k/c: the file was not published"):
        verify(path)
    (path / "c").unlink()
    (path / "b").unlink()
    assert not is_published(path)
    with pytest.raises(CorruptError, match="k/b: the file is missing"):
        verify(path)
    with pytest.raises(CorruptError, match="never published"):
        verify(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    path = make(tmp_path / "k", a="x")
    manifest = {**read_manifest(path), "format": 2}
    (path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CorruptError, match="newer"):
        verify(path)


def test_the_writer_is_light():
    """The kill tests start a writer a few hundred times; none of the heavy libraries may come along."""
    heavy = "{'torch', 'numpy', 'pyarrow', 'rich', 'sqlalchemy'} & set(sys.modules)"
    code = f"import sys; sys.path.insert(0, {str(SRC)!r}); import lamina.kit.durable; assert not {heavy}"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
