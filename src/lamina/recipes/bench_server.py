"""A stack's server for the length of a measurement: a process of its own, on a copy of the database.

What is asked and answered meanwhile is stored as always, in the copy, and is gone with it: a measurement leaves nothing
among the answers that people gave their opinion of.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lamina.kit.database import Database
from lamina.kit.errors import ConfigError, NotFoundError, StageError
from lamina.kit.process import die_with_parent, end, how_it_ended
from lamina.recipes.stack import Stack, open_stack

_START_S = 300.0  # a large model is read from a slow disk
_LOG_LINES = 5


@contextmanager
def own_server(stack: Stack, assignments: Sequence[str], url: str) -> Iterator[None]:
    """While inside, the stack's champion is served at ``url``. Raises ``StageError`` where it cannot be."""
    if not stack.state.is_dir():
        raise NotFoundError("there is nothing to serve yet", where=str(stack.state), hint="run `lamina up`")
    if not isinstance(stack.database, Path):
        raise ConfigError(
            "a measurement would leave its answers in this PostgreSQL database",
            where="LAMINA_DATABASE",
            hint="start `lamina serve` on a copy of it: a server that runs is measured as it is",
        )
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=stack.state) as place:  # on the disk that is written to
        copied, log = Path(place) / "lamina.db", Path(place) / "server.log"
        with Database.open(stack.database) as database:
            database.backup(copied)
        command = [sys.executable, "-P", "-m", __name__, str(os.getpid()), str(stack.file), *assignments]
        variables = {"LAMINA_DATABASE": str(copied), "GOMP_SPINCOUNT": "1000", "OPENBLAS_NUM_THREADS": "1"}
        with log.open("wb") as written:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **variables},
            )
        try:
            _wait(child, url, log)
            yield
        finally:
            end(child)


def _wait(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import httpx

    deadline = time.monotonic() + _START_S
    while child.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/ready", timeout=5.0, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    why = "did not answer in time" if child.poll() is None else how_it_ended(child.returncode)
    said = "; ".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    raise StageError(f"the server {why}: {said}", where="lamina serve")


def main() -> None:
    """The child: ``python -m lamina.recipes.bench_server PARENT FILE [KEY=VALUE…]``."""
    from lamina.recipes.serve import serve

    die_with_parent(int(sys.argv[1]))
    serve(open_stack(Path(sys.argv[2]), sys.argv[3:]), json=False, assignments=tuple(sys.argv[3:]))


if __name__ == "__main__":
    main()
