"""A model that answers questions of the data layer, as a process of its own on a loopback port.

``answering`` starts ``python -m MODULE`` and puts its address into the environment of this process's children; in the
child ``answer_until_parent_ends`` serves ``POST <address><path>``, JSON there and JSON back. The address holds a
secret, so that other users of the machine cannot ask; it goes to nobody but the children of this process.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lamina.kit.errors import InputError, StageError, restored, told
from lamina.kit.process import die_with_parent, end, how_it_ended

_START_S = 300.0  # a large model is read from a slow disk
_BODY = 16 * 1024 * 1024  # bytes of a question
#: Answers the JSON of a question. Raises ``InputError``, ``KeyError``, ``TypeError`` or ``ValueError`` for a wrong one.
Answer = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def answering(module: str, arguments: Sequence[str], variable: str, *, what: str) -> Iterator[None]:
    """While inside, ``module`` answers at the address in the environment variable ``variable``.

    ``what`` it is, for errors. Raises what opening its model raises.
    """
    read, write = os.pipe()
    command = [sys.executable, "-P", "-m", module, str(write), str(os.getpid()), *arguments]
    try:
        child = subprocess.Popen(command, pass_fds=(write,), stdin=subprocess.DEVNULL, start_new_session=True)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    before = os.environ.get(variable)
    try:
        os.environ[variable] = _address(read, child, what)
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before
        os.close(read)
        end(child)


def _address(read: int, child: subprocess.Popen[bytes], what: str) -> str:
    """The line that the child writes when it can answer."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([read], [], [], _START_S)
        piece = os.read(read, 65536) if ready else b""
        if not piece:
            why = how_it_ended(end(child)) if not ready or child.poll() is not None else "closed its pipe"
            raise StageError(f"the model that {what} {why}", where=what)
        line += piece
    said = json.loads(line)
    if "types" in said:
        raise restored(said)
    return str(said["address"])


class _Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1; one question after another goes through the model."""

    daemon_threads = True

    def __init__(self, path: str, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path, self.answer = path, answer
        self.secret, self.lock = secrets.token_urlsafe(24), threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.secret}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 600
    server: _Server

    def do_POST(self) -> None:
        """One question."""
        size = self.headers.get("content-length", "")
        wanted = f"/{self.server.secret}{self.server.path}"
        if not secrets.compare_digest(self.path.encode(), wanted.encode()):
            return self._answer(404, {"error": "there is nothing here"})
        if not size.isdigit() or int(size) > _BODY:
            return self._answer(413, {"error": f"a question has at most {_BODY} bytes"})
        try:
            body = json.loads(self.rfile.read(int(size)))
            with self.server.lock:
                found = self.server.answer(body)
        except (ValueError, KeyError, TypeError, InputError) as error:
            return self._answer(400, {"error": str(error)})
        except Exception as error:  # the next question may be one that can be answered
            return self._answer(500, {"error": f"{type(error).__name__}: {error}"})
        self._answer(200, found)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if status != 200:
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: there is one line a question."""


def answer_until_parent_ends(path: str, make: Callable[[list[str]], Answer]) -> None:
    """The child's side: ``make`` the model of the command's arguments, say where it answers, and answer."""
    out, parent, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    os.set_inheritable(out, False)
    die_with_parent(parent)
    try:
        server = _Server(path, make(arguments))
        said: dict[str, Any] = {"address": server.address}
    except Exception as error:
        said = told(error)
    os.write(out, json.dumps(said).encode() + b"\n")
    if "address" in said:
        server.serve_forever()


def texts_of(body: dict[str, Any], most: int) -> list[str]:
    """The texts of a question. Raises ``InputError``."""
    texts = body["texts"]
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts) or len(texts) > most:
        raise InputError(f"'texts' is a list of at most {most} texts that are not empty")
    return texts
