from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.kit import append_log, disk
from lamina.kit.append_log import AppendLog
from lamina.kit.errors import BusyError, CorruptError, StorageError, TooLargeError

PAYLOADS = st.lists(st.binary(max_size=200), max_size=12)


def read(path: Path) -> list[bytes]:
    with AppendLog(path) as log:
        return list(log)


def fill(path: Path, payloads: list[bytes]) -> list[int]:
    """Append one batch each; where each ends."""
    ends = []
    with AppendLog(path) as log:
        for payload in payloads:
            log.append(payload)
            ends.append(path.stat().st_size)
    return ends


def test_numbers_and_order(tmp_path):
    path = tmp_path / "spool" / "log"
    with AppendLog(path) as log:
        assert [log.append(b"%d" % n) for n in range(3)] == [0, 1, 2]
        assert list(log) == [b"0", b"1", b"2"]
    with AppendLog(path) as log:
        assert len(log) == 3
        assert log.append(b"") == 3
        assert list(log)[-1] == b""
    assert path.stat().st_mode & 0o777 == 0o600


@settings(max_examples=60, deadline=None)
@given(payloads=PAYLOADS, more=PAYLOADS)
def test_what_went_in_comes_out_also_after_reopening(tmp_path_factory, payloads, more):
    path = tmp_path_factory.mktemp("log") / "log"
    fill(path, payloads)
    assert read(path) == payloads
    fill(path, more)
    assert read(path) == payloads + more


@settings(max_examples=80, deadline=None)
@given(payloads=st.lists(st.binary(max_size=60), min_size=1, max_size=6), data=st.data())
def test_a_cut_anywhere_loses_only_what_lies_behind_it(tmp_path_factory, payloads, data):
    path = tmp_path_factory.mktemp("log") / "log"
    ends = fill(path, payloads)
    cut = data.draw(st.integers(0, ends[-1]))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = [payload for payload, end in zip(payloads, ends, strict=True) if end <= cut]
    with AppendLog(path) as log:
        assert list(log) == kept
        assert log.append(b"next") == len(kept)
        torn = log.torn
    assert read(path) == [*kept, b"next"]
    aside = list(path.parent.glob("log.torn-*"))
    assert sum(file.stat().st_size for file in aside) == torn
    assert all(file.read_bytes() and whole.find(file.read_bytes()) >= 0 for file in aside)


@settings(max_examples=150, deadline=None)
@given(payloads=st.lists(st.binary(max_size=60), min_size=1, max_size=6), data=st.data())
def test_a_flipped_bit_is_torn_at_the_end_and_refused_before(tmp_path_factory, payloads, data):
    path = tmp_path_factory.mktemp("log") / "log"
    ends = fill(path, payloads)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :])
    last = ends[-2] if len(ends) > 1 else 8
    if at < last:
        with pytest.raises(CorruptError, match="log"):
            AppendLog(path)
        assert len(path.read_bytes()) == len(whole)  # nothing was thrown away
    else:
        assert read(path) == payloads[:-1]


def test_several_damaged_batches_before_a_good_one_are_refused(tmp_path):
    path = tmp_path / "log"
    ends = fill(path, [b"x" * 100] * 10)
    whole = path.read_bytes()
    path.write_bytes(whole[: ends[1]] + os.urandom(ends[7] - ends[1]) + whole[ends[7] :])
    with pytest.raises(CorruptError, match=f"bytes from {ends[1]} are damaged"):
        AppendLog(path)


def test_a_tail_of_zeros_as_a_power_cut_leaves_it_is_torn(tmp_path):
    path = tmp_path / "log"
    fill(path, [b"a", b"b"])
    with path.open("ab") as file:
        file.write(bytes(5000))
    with AppendLog(path) as log:
        assert log.torn == 5000
        assert list(log) == [b"a", b"b"]


@pytest.mark.parametrize("head", [b"", b"LAM", bytes(3), bytes(8)])
def test_a_log_whose_first_bytes_never_reached_the_disk_begins_anew(tmp_path, head):
    path = tmp_path / "log"
    path.write_bytes(head)
    fill(path, [b"a"])
    assert read(path) == [b"a"]


def test_another_kind_of_file_is_refused_and_left_alone(tmp_path):
    for content in (b"something else entirely", b"short"):
        path = tmp_path / "log"
        path.write_bytes(content)
        with pytest.raises(CorruptError, match="no log"):
            AppendLog(path)
        assert path.read_bytes() == content


def test_two_writers_are_refused(tmp_path):
    with AppendLog(tmp_path / "log"), pytest.raises(BusyError, match="another process"):
        AppendLog(tmp_path / "log")
    AppendLog(tmp_path / "log").close()


def test_threads_share_fdatasyncs_and_all_are_durable(tmp_path, monkeypatch):
    calls: list[int] = []
    sync = os.fdatasync

    def counted(fd: int) -> None:
        calls.append(fd)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    numbers: list[int] = []
    with AppendLog(tmp_path / "log") as log:

        def work(worker: int) -> None:
            for n in range(50):
                numbers.append(log.append(f"{worker}-{n}".encode()))

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = list(log)
    assert sorted(numbers) == list(range(400))
    assert len(set(rows)) == 400
    assert len(calls) < 400
    for worker in range(8):  # each thread's own order is kept
        own = [row for row in rows if row.startswith(b"%d-" % worker)]
        assert own == [f"{worker}-{n}".encode() for n in range(50)]


@pytest.fixture
def failing(monkeypatch):
    def arm(point: str, how: str) -> None:
        monkeypatch.setattr(disk, "_passages", disk.Counter())
        monkeypatch.setenv("LAMINA_FAILPOINT", f"append_log.{point}:{how}:1")

    return arm


def test_a_full_disk_refuses_and_the_log_goes_on_when_there_is_room(tmp_path, failing):
    with AppendLog(tmp_path / "log") as log:
        log.append(b"one")
        failing("write", "enospc")
        with pytest.raises(StorageError, match="No space left"):
            log.append(b"lost")
        assert log.append(b"two") == 1
        assert list(log) == [b"one", b"two"]
    assert read(tmp_path / "log") == [b"one", b"two"]


def test_half_a_frame_before_the_full_disk_is_cut_off(tmp_path, monkeypatch):
    def half(fd: int, data: bytes, offset: int | None = None) -> None:
        os.pwrite(fd, data[:10], offset or 0)
        raise OSError(errno.ENOSPC, "No space left on device")

    with AppendLog(tmp_path / "log") as log:
        log.append(b"one")
        size = (tmp_path / "log").stat().st_size
        with monkeypatch.context() as patch:
            patch.setattr(append_log, "write_all", half)
            with pytest.raises(StorageError):
                log.append(b"lost")
        assert (tmp_path / "log").stat().st_size == size


def test_after_a_failed_fsync_nothing_is_acknowledged_until_it_is_opened_anew(tmp_path, failing):
    log = AppendLog(tmp_path / "log")
    log.append(b"one")
    failing("sync", "eio")
    with pytest.raises(StorageError, match="Input/output error"):
        log.append(b"lost")
    with pytest.raises(StorageError, match="open it anew"):
        log.append(b"refused")
    log.close()
    with AppendLog(tmp_path / "log") as log:
        assert list(log) == [b"one"]
        log.append(b"two")
    assert read(tmp_path / "log") == [b"one", b"two"]


def test_an_interrupt_in_the_writing_thread_acknowledges_nothing(tmp_path, monkeypatch):
    inside, go, outcomes = threading.Event(), threading.Event(), {}

    def interrupted(fd: int) -> None:
        inside.set()
        go.wait(5)
        raise KeyboardInterrupt

    with AppendLog(tmp_path / "log") as log:

        def work(name: str) -> None:
            try:
                outcomes[name] = log.append(name.encode())
            except BaseException as error:
                outcomes[name] = type(error)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", interrupted)
            first = threading.Thread(target=work, args=("first",))
            first.start()
            inside.wait(5)
        second = threading.Thread(target=work, args=("second",))
        second.start()
        go.set()
        first.join()
        second.join()
    assert outcomes["first"] is KeyboardInterrupt
    assert read(tmp_path / "log") == ([b"second"] if outcomes["second"] == 0 else [])


def test_a_payload_over_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(append_log, "MAX_PAYLOAD", 10)
    with AppendLog(tmp_path / "log") as log:
        with pytest.raises(TooLargeError, match="11 bytes"):
            log.append(b"x" * 11)
        log.append(b"x" * 10)


def test_a_closed_log_says_so(tmp_path):
    log = AppendLog(tmp_path / "log")
    log.close()
    with pytest.raises(StorageError, match="closed"):
        log.append(b"x")
