"""A model that scores texts for the step `perplexity`, as a process of its own on a loopback port.

    with scoring(served):  # a served model's folder, or None
        build_corpus(…)    # its workers find the address in the environment

``POST <address>/score`` with ``{"texts": […]}`` gives ``{"scores": [{"nats", "tokens"}, …]}``: Σ -ln p over the tokens
of each text, after the token that ends documents (see ``model.evaluate.bits_per_byte``). The address holds a secret, so
that other users of the machine cannot ask; it goes to nobody but the children of this process.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.contracts.inference import Scored
from lamina.data.clean.perplexity import SCORER
from lamina.kit.errors import InputError, StageError, restored, told
from lamina.kit.process import die_with_parent, end, how_it_ended

if TYPE_CHECKING:
    from lamina.recipes.plan import Plan

_START_S = 300.0  # a large model is read from a slow disk
_BODY = 16 * 1024 * 1024  # bytes of a question
_TEXTS = 256


def serve_scorer(plan: Plan) -> None:
    """Make what the corpus' steps need of the model layer: the served base. Nothing where no step asks for it."""
    if plan.scores:
        plan.workshop.run(plan.base)
        plan.workshop.run(plan.served(plan.workshop.folder(plan.base), part=""))


@contextmanager
def scoring(served: Path | None) -> Iterator[None]:
    """While inside, the model in ``served``/model scores texts at the address in the environment (LAMINA_SCORER).

    Raises what opening the model raises.
    """
    if served is None:
        yield
        return
    read, write = os.pipe()
    command = [
        sys.executable,
        "-P",
        "-m",
        "lamina.recipes.scoring",
        str(write),
        str(os.getpid()),
        str(served / "model"),
    ]
    try:
        child = subprocess.Popen(command, pass_fds=(write,), stdin=subprocess.DEVNULL, start_new_session=True)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    before = os.environ.get(SCORER)
    try:
        os.environ[SCORER] = _address(read, child)
        yield
    finally:
        os.environ.pop(SCORER, None)
        if before is not None:
            os.environ[SCORER] = before
        os.close(read)
        end(child)


def _address(read: int, child: subprocess.Popen[bytes]) -> str:
    """The line that the child writes when it can answer."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([read], [], [], _START_S)
        piece = os.read(read, 65536) if ready else b""
        if not piece:
            why = how_it_ended(end(child)) if not ready or child.poll() is not None else "closed its pipe"
            raise StageError(f"the model that scores texts {why}", where="perplexity")
        line += piece
    said = json.loads(line)
    if "types" in said:
        raise restored(said)
    return str(said["address"])


class _Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1; one text after another goes through the model."""

    daemon_threads = True

    def __init__(self, score: Callable[[Sequence[str]], Sequence[Scored]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret, self.lock, self.score = secrets.token_urlsafe(24), threading.Lock(), score

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
        if not secrets.compare_digest(self.path.encode(), f"/{self.server.secret}/score".encode()):
            return self._answer(404, {"error": "there is nothing here"})
        if not size.isdigit() or int(size) > _BODY:
            return self._answer(413, {"error": f"a question has at most {_BODY} bytes"})
        try:
            texts = json.loads(self.rfile.read(int(size)))["texts"]
            if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts) or len(texts) > _TEXTS:
                raise InputError(f"'texts' is a list of at most {_TEXTS} texts that are not empty")
            with self.server.lock:
                scores = [{"nats": one.nats, "tokens": one.tokens} for one in self.server.score(texts)]
        except (ValueError, KeyError, TypeError, InputError) as error:
            return self._answer(400, {"error": str(error)})
        except Exception as error:  # the next question may be one that can be answered
            return self._answer(500, {"error": f"{type(error).__name__}: {error}"})
        self._answer(200, {"scores": scores})

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


def _scorer(folder: Path) -> Callable[[Sequence[str]], Sequence[Scored]]:
    from lamina.deployment.compress.quantize import open_served
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.evaluate.bits_per_byte import bits_per_byte

    model, tokenizer = open_served(folder), open_tokenizer(folder)

    def score(texts: Sequence[str]) -> list[Scored]:
        if not texts:
            return []
        measured = bits_per_byte(model, tokenizer, texts)
        tokens = [len(ids) for ids in tokenizer.encode_batch(list(texts))]
        return [Scored(nats, count) for (nats, _), count in zip(measured.per_document, tokens, strict=True)]

    return score


def main() -> None:
    """Say where the model answers, and answer until the parent ends."""
    out, parent, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    os.set_inheritable(out, False)
    die_with_parent(parent)
    try:
        server = _Server(_scorer(folder))
        said: dict[str, Any] = {"address": server.address}
    except Exception as error:
        said = told(error)
    os.write(out, json.dumps(said).encode() + b"\n")
    if "address" in said:
        server.serve_forever()


if __name__ == "__main__":
    main()
