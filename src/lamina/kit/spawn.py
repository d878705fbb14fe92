"""Starting child processes of our own modules: forked from a process that has imported what they need.

    child = start("lamina.kit.stage_child", fds=(write, lock), function="lamina.recipes.corpus:build", stdout=log)

A fresh interpreter needs seconds to import torch and the like. So each process keeps one helper (``kit.forkserver``)
that has one thread, imports what children ask for, and forks them. Where it cannot serve (no Linux, a library that
started a thread while it was imported) the child is a fresh ``python -m module``; it notices no difference.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, TypeVar

from lamina.kit.jail_wire import Closed, receive, send
from lamina.kit.process import Child

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: Variables that are read when they are needed, in the child, and those that polars, torch and Ray set themselves when
#: they are imported: they may change, and children get them as they are.
_LATE = ("LAMINA_", "PYTEST_", "_RJEM_MALLOC_CONF", "TORCHINDUCTOR_CACHE_DIR", "RAY_")
#: What the helper's libraries must find when they are loaded, or they start threads: numpy's and Arrow's.
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
_HASH_SEED = "PYTHONHASHSEED"
_LEAVING_S = 2.0


def imports(*modules: str) -> Callable[[_Function], _Function]:
    """Mark a stage's or a worker's function with what it imports when it runs, for the helper to import once.

    None of the modules may start a thread while it is imported (polars does), or the helper is of no use any more.
    """

    def mark(function: _Function) -> _Function:
        function.__dict__["imports"] = modules
        return function

    return mark


def start(
    module: str,
    *arguments: str,
    fds: Sequence[int] = (),
    function: str | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> Child:
    """Start ``module.main()`` in a child, in a session of its own, with a pipe as its standard input.

    Its ``sys.argv`` holds the numbers of the inherited ``fds``, the process id that ``kit.process.die_with_parent``
    is to be called with, and ``arguments``. ``function`` ("module:name") is what it is going to call, ``variables``
    are added to its environment. A child that is forked is killed when the ``Child`` is lost.
    """
    if _can_fork():
        with _lock:
            forked = _fork(module, arguments, fds, function, (stdout, stderr), dict(variables or {}))
        if forked is not None:
            return forked
    return subprocess.Popen(
        [sys.executable, "-P", "-X", "faulthandler", "-m", module, *map(str, fds), str(os.getpid()), *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        pass_fds=fds,
        start_new_session=True,
        env={**os.environ, **(variables or {})},
    )


def release() -> None:
    """Let the helper go (it ends when its children have), with the memory that its imports take."""
    with _lock:
        _let_go()


class Forked:
    """A child of the helper, used like ``subprocess.Popen``."""

    def __init__(self, pid: int, line: socket.socket, stdin: IO[bytes]) -> None:
        self.pid, self.stdin = pid, stdin
        self._line, self._status = line, None  # type: tuple[socket.socket, int | None]
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit status (negative: the signal that ended it), None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status once it has one. Raises ``subprocess.TimeoutExpired``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while self._status is None:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not _readable(self._line, left):
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
                try:
                    self._status = int(receive(self._line.fileno())[0]["status"])
                except Closed:  # the helper is gone, and the kernel killed its children
                    self._status = -signal.SIGKILL
                self._line.close()  # only now may the process id become another's
            return self._status

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class _Helper:
    """The end of the line to a helper: one's own, or that of the helper that forked this process."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
        self.control, self.process = control, process
        self.traits, self.owner = _traits(), os.getpid()
        self.fit = True

    def ask(self, request: dict[str, Any], fds: Sequence[int]) -> tuple[int, socket.socket] | None:
        """Process id and line of a child; None where none was made."""
        here, there = socket.socketpair()
        try:
            with there:
                socket.send_fds(self.control, [b"f"], [there.fileno(), *fds])
            send(here.fileno(), request)
            reply, _ = receive(here.fileno())
        except (OSError, Closed):  # it ended, having had nothing to do for a while
            here.close()
            raise Closed from None
        if "pid" in reply:
            return int(reply["pid"]), here
        here.close()
        self.fit = False
        return None


_lock = threading.Lock()
_helper: _Helper | None = None
_let_go_of: list[subprocess.Popen[bytes]] = []  # helpers that have ended, or will


def inherit(control: socket.socket) -> None:
    """Called in a forked child: its own children come from the same helper."""
    global _helper
    _helper = _Helper(control, None)


def _fork(
    module: str,
    arguments: Sequence[str],
    fds: Sequence[int],
    function: str | None,
    output: tuple[int | None, int | None],
    variables: dict[str, str],
) -> Forked | None:
    read, write = os.pipe()
    request = {
        "module": module,
        "arguments": list(arguments),
        "function": function,
        "environment": {**os.environ, **variables},
        "folder": os.getcwd(),
    }
    passed = [read, *(number if fd is None else fd for number, fd in enumerate(output, 1)), *fds]
    try:
        for _ in range(2):
            helper = _ready()
            if not helper.fit:
                break
            try:
                made = helper.ask(request, passed)
            except Closed:
                _let_go()
                continue
            if made is not None:
                return Forked(*made, os.fdopen(write, "wb"))
        os.close(write)
        return None
    finally:
        os.close(read)


def _ready() -> _Helper:
    """A helper that has inherited what this process would hand on."""
    global _helper
    if _helper is not None and (_helper.owner != os.getpid() or _helper.traits != _traits()):
        _let_go()
    if _helper is None:
        here, there = socket.socketpair()
        with there:
            process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-m", "lamina.kit.forkserver", str(there.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(there.fileno(),),
                start_new_session=True,
                env={**_QUIET, **os.environ, _HASH_SEED: "0"},
            )
        _helper = _Helper(here, process)
    return _helper


def _let_go() -> None:
    global _helper
    _let_go_of[:] = [process for process in _let_go_of if process.poll() is None]
    if _helper is not None:
        _helper.control.close()
        if _helper.process is not None and _helper.owner == os.getpid():
            _let_go_of.append(_helper.process)
        _helper = None


@atexit.register
def _leave() -> None:
    """A helper does not outlive this process, unless it is in the middle of an import."""
    with _lock:
        _let_go()
    for process in _let_go_of:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVING_S)


def _can_fork() -> bool:
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def _traits() -> tuple[Any, ...]:
    """What a process hands on to its children: two with the same may have the same helper."""
    import resource

    variables = {k: v for k, v in os.environ.items() if not k.startswith(_LATE)}
    limits = [resource.getrlimit(getattr(resource, n)) for n in sorted(dir(resource)) if n.startswith("RLIMIT_")]
    return variables, os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0), limits


def _readable(line: socket.socket, seconds: float | None) -> bool:
    import select

    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
