"""Child processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Protocol

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


class Child(Protocol):
    """A child process: ``subprocess.Popen``, or one that ``kit.spawn`` forked."""

    pid: int

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to its standard input."""

    def poll(self) -> int | None:
        """Its exit status (negative: the signal that ended it), None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status once it has one. Raises ``subprocess.TimeoutExpired``."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


def die_with_parent(parent: int) -> None:
    """Called by a child: the kernel kills it when the thread of process ``parent`` that started it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the call
        os.kill(os.getpid(), signal.SIGKILL)


def forbid_new_privileges() -> None:
    """No program that this process starts gains rights (setuid and the like)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def end(child: Child, *, patience_s: float = 10.0) -> int:
    """Ask a child to end (SIGTERM), kill its process group when it does not within ``patience_s``; its exit status."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except OSError:
                child.kill()
    return child.wait()


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM raises ``SystemExit(143)``, so that what was begun is ended in order. Main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def how_it_ended(status: int) -> str:
    """An exit status in words; negative ones are signals."""
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL (out of memory, or from outside)"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def processor_seconds(pid: int) -> float | None:
    """Processor time that a process has used (proc_pid_stat(5)); None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
