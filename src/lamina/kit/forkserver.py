"""The helper of ``kit.spawn``: ``python -m lamina.kit.forkserver SOCKET``; forks children that find things imported.

A fork copies memory and one thread. What other threads held (a lock in the middle of an allocation) would stay held
for ever in the child, so this process has one thread: it imports and forks, and calls nothing that it imported. That is
counted before each fork, and refused otherwise.

On a control socket a request arrives as one byte with descriptors: the child's line, its standard input, output and
error, and those that it inherits. Down the line comes the request in JSON; up the line go the child's process id, and
its exit status once it has one. A line that closes means that nobody wants the child any more: it is killed.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lamina.kit import spawn
from lamina.kit.jail_wire import Closed, receive, send
from lamina.kit.process import die_with_parent

_IDLE_S = 60.0  # without children for so long, it ends: what it imported takes memory
_MOST_FDS = 16
_OURS = "lamina."  # modules of others are imported by the child: they may do anything


def main() -> int:
    """Fork children until nobody is left to ask for them; in a child, what it was asked to do."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = _Server(control).serve()
    return 0 if child is None else int(child() or 0)


@dataclass
class _Child:
    """A child that somebody waits for, until its line closes: so long its process id is not another's."""

    pid: int
    line: socket.socket
    handle: int | None  # readable when it has ended; None once that was told


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._controls = {control.fileno(): control}
        self._children: dict[int, _Child] = {}  # by their line's descriptor
        self._imported: set[str] = set()

    def serve(self) -> Callable[[], Any] | None:
        """Returns None when all is over, and in each child what it is to do."""
        while self._controls or self._children:
            poll = select.poll()
            for fd in (*self._controls, *self._children):
                poll.register(fd, select.POLLIN)
            for child in self._children.values():
                if child.handle is not None:
                    poll.register(child.handle, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(None if self._children else _IDLE_S * 1000)}
            if not ready:
                break
            for child in [c for c in self._children.values() if c.handle in ready]:
                self._tell(child)
            for fd in [fd for fd in self._children if fd in ready]:
                self._forget(self._children.pop(fd))
            for fd in [fd for fd in self._controls if fd in ready]:
                work = self._answer(self._controls[fd])
                if work is not None:
                    return work
        return None

    def _tell(self, child: _Child) -> None:
        """Report how ``child`` ended; it stays a zombie."""
        assert child.handle is not None
        ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        os.close(child.handle)
        child.handle = None
        if ended is not None:
            status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            with suppress(Closed):
                send(child.line.fileno(), {"status": status})

    def _forget(self, child: _Child) -> None:
        if child.handle is not None:
            os.close(child.handle)
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.line.close()

    def _answer(self, control: socket.socket) -> Callable[[], Any] | None:
        data, fds, _, _ = socket.recv_fds(control, 1, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        if not data or not fds:
            del self._controls[control.fileno()]
            control.close()
            return None
        line, inherited = socket.socket(fileno=fds[0]), fds[1:]
        try:
            request, _ = receive(line.fileno())
            self._import(request["function"])
            if len(os.listdir("/proc/self/task")) > 1:
                send(line.fileno(), {"refused": "a library started a thread"})
            else:
                return self._fork(request, line, inherited)
        except (Closed, OSError):
            line.close()  # who asked sees it, and starts the child otherwise
        for fd in inherited:
            os.close(fd)
        return None

    def _import(self, function: str | None) -> None:
        """Import the module of ``function``, and what it says that it imports."""
        if function is None or function in self._imported or not function.startswith(_OURS):
            return
        self._imported.add(function)
        module, _, name = function.partition(":")
        with suppress(Exception):  # the child meets the error again, and reports it
            for needed in getattr(getattr(importlib.import_module(module), name), "imports", ()):
                importlib.import_module(needed)
        gc.collect()
        gc.freeze()  # what is shared with the children stays shared: no collection writes to it

    def _fork(self, request: dict[str, Any], line: socket.socket, inherited: list[int]) -> Callable[[], Any] | None:
        here, there = socket.socketpair()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            here.close()
            for other in (line, *self._controls.values(), *(child.line for child in self._children.values())):
                other.close()
            for child in self._children.values():
                if child.handle is not None:
                    os.close(child.handle)
            return lambda: _become(request, inherited, there, server)
        there.close()
        for fd in inherited:
            os.close(fd)
        self._children[line.fileno()] = _Child(pid, line, os.pidfd_open(pid))
        self._controls[here.fileno()] = here
        with suppress(Closed):
            send(line.fileno(), {"pid": pid})
        return None


def _become(request: dict[str, Any], inherited: list[int], control: socket.socket, server: int) -> Any:
    """In the child: be what a fresh ``python -m module`` would be, and run it."""
    os.setsid()
    die_with_parent(server)
    for number, fd in enumerate(inherited[:3]):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["environment"])
    with suppress(OSError):
        os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # or all children would draw the same
    spawn.inherit(control)
    sys.argv = [request["module"], *map(str, inherited[3:]), str(server), *request["arguments"]]
    return importlib.import_module(request["module"]).main()


if __name__ == "__main__":
    sys.exit(main())
