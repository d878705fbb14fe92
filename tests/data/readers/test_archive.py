"""Archives that stand for folders: every file under a name of ours, what is wrong with one costs it alone."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard

from lamina.contracts.corpus import SourceFile
from lamina.data.readers.archive import is_folder, members
from lamina.kit.errors import DocumentError

FILES = {"a/one.txt": b"One.", "two.txt": b"Two." * 999, "__MACOSX/._one.txt": b"x", "a/.DS_Store": b"x"}


def tar(files: Mapping[str, bytes], mode: str = "w", *more: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as out:  # type: ignore[call-overload]
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            out.addfile(about, io.BytesIO(data))
        for about in more:
            out.addfile(about)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return buffer.getvalue()


def read(tmp_path: Path, name: str, data: bytes) -> tuple[dict[str, bytes], dict[str, str], str]:
    """(files, complaints, why it ended)"""
    (tmp_path / "given").write_bytes(data)
    out = Path(tempfile.mkdtemp(dir=tmp_path))
    found: dict[str, bytes] = {}
    bad: dict[str, str] = {}
    ended = ""
    try:
        for inner in members(SourceFile(name=name, path=tmp_path / "given"), out, bad.__setitem__):
            assert inner.path.parent == out
            found[inner.name] = inner.path.read_bytes()
    except DocumentError as error:
        ended = str(error)
    return found, bad, ended


PACKED = {
    "x.zip": zipped(FILES),
    "x.tar": tar(FILES),
    "x.tar.gz": tar(FILES, "w:gz"),
    "x.TGZ": tar(FILES, "w:gz"),
    "x.tar.bz2": tar(FILES, "w:bz2"),
    "x.txz": tar(FILES, "w:xz"),
    "x.tar.zst": zstandard.compress(tar(FILES)),
}


@pytest.mark.parametrize("name", PACKED)
def test_however_it_is_packed(tmp_path: Path, name: str) -> None:
    assert is_folder(name)
    found, bad, ended = read(tmp_path, name, PACKED[name])
    assert found == {f"{name}/a/one.txt": b"One.", f"{name}/two.txt": b"Two." * 999}
    assert (bad, ended) == ({}, "")


def test_links_devices_and_ways_out(tmp_path: Path) -> None:
    link, device = tarfile.TarInfo("link.txt"), tarfile.TarInfo("null")
    link.type, link.linkname, device.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.CHRTYPE
    data = tar({"../up.txt": b"x", "/root.txt": b"x", "c:\\win.txt": b"x", "./good.txt": b"Good."}, "w", link, device)
    found, bad, ended = read(tmp_path, "x.tar", data)
    assert found == {"x.tar/good.txt": b"Good."}
    assert bad == {
        **dict.fromkeys(("../up.txt", "/root.txt", "c:/win.txt"), "leads outside of the archive"),
        **dict.fromkeys(("link.txt", "null"), "is a link or a device"),
    }
    assert not ended
    assert not (tmp_path.parent / "up.txt").exists()


def test_names_that_cannot_be_written_down_and_names_that_come_twice(tmp_path: Path) -> None:
    data = tar({"a\nb.txt": b"1", "\udcff.txt": b"2", "c.txt": b"3"})
    found, bad, _ = read(tmp_path, "x.tar", data + b"")
    assert found == {"x.tar/a\ufffdb.txt": b"1", "x.tar/\ufffd.txt": b"2", "x.tar/c.txt": b"3"}
    assert bad == {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("a.txt", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            out.writestr("a.txt", "2")
    found, bad, _ = read(tmp_path, "x.zip", buffer.getvalue())
    assert found == {"x.zip/a.txt": b"1"}
    assert bad == {"a.txt": "stands in the archive before"}


def test_damage_costs_what_is_behind_it(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.txt": b"A" * 5000, "b.txt": bytes(range(256)) * 50, "c.txt": b"C"}))
    place = data.find(b"b.txt") + 40
    data[place : place + 20] = b"\xff" * 20
    found, bad, ended = read(tmp_path, "x.zip", bytes(data))
    assert set(found) == {"x.zip/a.txt", "x.zip/c.txt"}
    assert "damaged" in bad["b.txt"]
    assert not ended
    cut = tar({f"{n}.txt": bytes(2000) for n in range(9)})[:9000]
    found, bad, ended = read(tmp_path, "x.tar", cut)
    assert len(found) == 3
    assert "damaged" in ended + "".join(bad.values())
    assert "no archive" in read(tmp_path, "x.zip", b"PK\x03\x04 and nothing")[2]
    assert "not an archive" in read(tmp_path, "x.tar", b"words")[2]


def test_a_bomb_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.readers.archive._FREE", 1 << 20)
    bomb = zipped({"good.txt": b"Good.", "bomb.txt": bytes(20 << 20), "behind.txt": b"x"})
    found, _, ended = read(tmp_path, "x.zip", bomb)
    assert found == {"x.zip/good.txt": b"Good."}
    assert "unpacks to more than the limit, at bomb.txt" in ended
    monkeypatch.setattr("lamina.data.readers.archive._FILES", 2)
    found, _, ended = read(tmp_path, "x.zip", zipped({f"{n}.txt": b"x" for n in range(5)}))
    assert len(found) == 2
    assert "more than 2 files" in ended
