from __future__ import annotations

import errno
import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.kit.errors import DocumentError, StorageError, TooLargeError
from lamina.kit.unpack import Limits, matches, read_member, unpack

FILES = {"a.txt": b"one", "sub/b.txt": b"two" * 1000, "sub/deep/c.bin": os.urandom(3000)}


def make_zip(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tar_bytes(files: dict[str, bytes] = FILES, members: list[tarfile.TarInfo] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members or []:
            archive.addfile(member)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def make_deb(path: Path, data: bytes, name: bytes = b"data.tar.xz") -> Path:
    def member(name: bytes, body: bytes) -> bytes:
        head = (
            name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8) + str(len(body)).encode().ljust(10)
        )
        return head + b"`\n" + body + b"\n" * (len(body) % 2)

    path.write_bytes(b"!<arch>\n" + member(b"debian-binary", b"2.0\n\n"[:5]) + member(name, data))
    return path


def read(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def archives(folder: Path) -> list[Path]:
    import bz2
    import lzma

    made = [make_zip(folder / "x.whl"), folder / "x.tar"]
    made[1].write_bytes(tar_bytes())
    for name, pack in {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.items():
        made.append(folder / f"x.tar.{name}")
        made[-1].write_bytes(pack(tar_bytes()))
        made.append(make_deb(folder / f"{name}.deb", pack(tar_bytes()), f"data.tar.{name}".encode()))
    zst = zstandard.ZstdCompressor().compress(tar_bytes())
    return [*made, make_deb(folder / "zst.deb", zst, b"data.tar.zst/")]


def test_every_kind_of_archive(tmp_path: Path) -> None:
    for n, archive in enumerate(archives(tmp_path)):
        assert unpack(archive, tmp_path / str(n)) == sorted(FILES), archive
        assert read(tmp_path / str(n)) == FILES
        assert read_member(archive, lambda name: name.endswith("b.txt"), limit=5) == b"twotw"
        assert read_member(archive, lambda name: False) is None


def test_only_what_matches(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip")
    assert unpack(archive, tmp_path / "out", match=("**/*.txt",)) == ["a.txt", "sub/b.txt"]
    assert sorted(read(tmp_path / "out")) == ["a.txt", "sub/b.txt"]
    assert matches("anything", ())
    assert not matches("sub/b.txt", ("*.bin",))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\b", "C:x", "a//b", "a/./b", "n\x1bx", "a" * 300])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_unsafe_names_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    archive = tmp_path / "archive"
    if kind == "tar":
        archive.write_bytes(tar_bytes({name: b"x"}))
    else:
        make_zip(archive, {name: b"x"})
    with pytest.raises(DocumentError):
        unpack(archive, tmp_path / "in" / "out")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [archive]


def special(kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo("a.txt" if kind == tarfile.DIRTYPE else "link")
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_left_out(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes(members=[special(kind)]))
    assert unpack(tmp_path / "x.tar", tmp_path / "out") == sorted(FILES)
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))


def test_a_link_in_a_zip_is_left_out(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc")
        archive.writestr("link/passwd", "x")
    assert unpack(tmp_path / "x.zip", tmp_path / "out") == ["link/passwd"]
    assert not (tmp_path / "out" / "link").is_symlink()


def test_a_folder_of_a_files_name_is_damage(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes({"a": b"1", "a/b": b"2"}))
    with pytest.raises(DocumentError):
        unpack(tmp_path / "x.tar", tmp_path / "out")


def test_bombs_are_stopped(tmp_path: Path) -> None:
    zeros = {"zero": bytes(80 * 1024 * 1024)}
    make_zip(tmp_path / "x.zip", zeros)
    with pytest.raises(TooLargeError, match="'zero' unpacks past the cap"):
        unpack(tmp_path / "x.zip", tmp_path / "zip")
    (tmp_path / "x.tgz").write_bytes(gzip.compress(tar_bytes(zeros), 9))
    with pytest.raises(TooLargeError):
        unpack(tmp_path / "x.tgz", tmp_path / "tgz")
    with pytest.raises(TooLargeError, match="more than 2 entries"):
        unpack(make_zip(tmp_path / "y.zip"), tmp_path / "many", limits=Limits(entries=2))
    with pytest.raises(TooLargeError):
        unpack(tmp_path / "y.zip", tmp_path / "big", limits=Limits(size=1000))


def test_a_huge_extended_header_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2 * 1024**3
    (tmp_path / "x.tgz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4 * 1024**2)))
    with pytest.raises(DocumentError, match="extended header"):
        unpack(tmp_path / "x.tgz", tmp_path / "out")


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "x.zip")

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lamina.kit.unpack.os.open", full)
    with pytest.raises(StorageError, match="No space left"):
        unpack(archive, tmp_path / "out")


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    raw = make_zip(tmp_path / "x.zip", {"zero": bytes(1000)}).read_bytes()
    (tmp_path / "x.zip").write_bytes(raw.replace(struct.pack("<I", 1000), struct.pack("<I", 10)))
    with pytest.raises(DocumentError):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"one": bytes(5000), "two": bytes(5000)})
    raw = bytearray(path.read_bytes())
    second = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1)
    raw[second + 42 : second + 46] = struct.pack("<I", 0)  # the second name points at the first one's bytes
    path.write_bytes(bytes(raw))
    with pytest.raises(DocumentError, match="overlaps"):
        unpack(path, tmp_path / "out")


def test_encrypted_and_doubled_entries_are_refused(tmp_path: Path) -> None:
    raw = bytearray(make_zip(tmp_path / "x.zip", {"one": b"x"}).read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(bytes(raw))
    with pytest.raises(DocumentError, match="encrypted"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    doubled = tar_bytes({"a": b"1"})[:1024] + tar_bytes({"a": b"2"})
    (tmp_path / "x.tar").write_bytes(doubled)
    with pytest.raises(DocumentError, match="two entries"):
        unpack(tmp_path / "x.tar", tmp_path / "twice")


def _flip(data: bytes) -> Callable[[int], bytes]:
    return lambda at: data[: at % len(data)] + bytes([data[at % len(data)] ^ 0x55]) + data[at % len(data) + 1 :]


def test_a_tar_that_is_cut_short_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    whole = tar_bytes({"a.txt": b"one", "b.txt": b"two"})
    for end in (1024 + 40, 1024 + 512 + 1):  # within the second header, and within its data
        (tmp_path / "x.tar").write_bytes(whole[:end])
        with pytest.raises(DocumentError, match="cannot be unpacked"):
            unpack(tmp_path / "x.tar", tmp_path / str(end))
    damaged = bytearray(whole)
    damaged[1024:1100] = b"\xff" * 76
    (tmp_path / "y.tar").write_bytes(bytes(damaged))
    with pytest.raises(DocumentError, match="a header is damaged"):
        unpack(tmp_path / "y.tar", tmp_path / "y")


def test_a_compressed_tar_that_ends_in_its_header_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(tar_bytes({"a.txt": b"one"}))
    for end in range(3, 12):
        (tmp_path / "x.tar.gz").write_bytes(whole[:end])
        with pytest.raises(DocumentError, match="cannot be unpacked"):
            unpack(tmp_path / "x.tar.gz", tmp_path / str(end))


@given(kind=st.integers(0, 8), at=st.integers(0, 10**6), cut=st.booleans())
@settings(max_examples=150, deadline=None)
def test_damage_is_an_error_of_the_tree_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, kind: int, at: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    made = archives(folder)
    archive = made[kind % len(made)]
    data = archive.read_bytes()
    archive.write_bytes(data[: at % len(data)] if cut else _flip(data)(at))
    with suppress(DocumentError, TooLargeError):
        unpack(archive, folder / "out")
    outside = {p.name for p in folder.iterdir()} - {a.name for a in made} - {"out"}
    assert not outside
