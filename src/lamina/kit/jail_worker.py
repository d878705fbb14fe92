"""A worker of the jail: ``python -m lamina.kit.jail_worker PIPE PARENT MEMORY_MB``; requests on standard input.

It locks itself in before it reads the first byte that came from outside.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from lamina.kit.errors import LaminaError
from lamina.kit.jail_wire import Closed, receive, send
from lamina.kit.process import die_with_parent, forbid_new_privileges

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
_FORBIDDEN = {
    *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"),
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"),
    *("os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.link", "os.symlink", "os.mkdir"),
    *("shutil.rmtree", "os.kill", "os.killpg", "pickle.find_class"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Answer requests until standard input ends."""
    out, parent, memory_mb = (int(argument) for argument in sys.argv[1:])
    os.set_inheritable(out, False)
    die_with_parent(parent)
    network = _lock_in(memory_mb)
    send(out, {"network": network})
    functions: dict[str, Callable[..., Any]] = {}
    while True:
        try:
            request, data = receive(0)
        except Closed:
            return
        answer = _answer(request, data, functions)
        try:
            if isinstance(answer.get("value"), bytes):
                send(out, {"bytes": True}, answer["value"])
            else:
                send(out, answer)
        except (TypeError, ValueError, RecursionError) as error:  # nothing was written yet
            send(out, {"error": f"the parser's answer is no JSON: {error}"})


def _answer(request: dict[str, Any], data: bytes, functions: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    try:
        name = request["function"]
        if name not in functions:
            module, _, attribute = name.partition(":")
            functions[name] = getattr(importlib.import_module(module), attribute)
        return {"value": functions[name](request["payload"], data if request["data"] else None)}
    except MemoryError:
        return {"memory": True}
    except LaminaError as error:
        return {"error": error.what, "where": error.where, "hint": error.hint}
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return {"memory": True}
        text = str(error)[:500]
        return {"error": f"{type(error).__name__}: {text}" if text else type(error).__name__}


def _lock_in(memory_mb: int) -> str:
    """Give up network, memory beyond the limit, files, programs; returns how the network was given up."""
    network = _leave_network()
    forbid_new_privileges()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    space = _address_space() + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    sys.addaudithook(_watch)
    return network


def _leave_network() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "hook"
    if libc.unshare(_NEW_NET) == 0:
        return "namespace"
    return "user namespace" if libc.unshare(_NEW_USER | _NEW_NET) == 0 else "hook"


def _address_space() -> int:
    """Bytes of address space that this process takes now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 256 * 2**20


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: what a parser has no business doing is a ``PermissionError``."""
    if event in _FORBIDDEN:
        raise PermissionError(f"{event} is not allowed to a parser of untrusted files")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING and arguments[0] != os.devnull:
        raise PermissionError(f"a parser of untrusted files may not write {arguments[0]!r}")


if __name__ == "__main__":
    main()
