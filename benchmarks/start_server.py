"""`lamina serve` on a stack of its own, as it starts on a machine where it ran before: for `bench_engine.py start` and
`scale_memory.py`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from machine import ROOT  # beside this file

from lamina.deployment.registry import ModelRegistry
from lamina.deployment.seal import make_seal
from lamina.kit.database import Database
from lamina.recipes.current import Current, remember
from lamina.recipes.stack import open_stack

_FILE = 'name = "start"\n[model]\nbase = "{folder}"\n[interface]\ngrounding = "weights only"\nport = 0\n'
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def stack_of(folder: Path) -> Path:
    """The stack file of a stack whose champion is the model in ``folder``, sealed; made where it is not there."""
    place = ROOT / ".cache" / f"start-{folder.name}"
    file = place / "lamina.toml"
    if not file.is_file():
        place.mkdir(parents=True, exist_ok=True)
        (place / "new.toml").write_text(_FILE.format(folder=folder))
        stack = open_stack(place / "new.toml", [])
        stack.state.mkdir(parents=True, exist_ok=True)
        with Database.open(stack.database) as database:
            registry = ModelRegistry(database, stack.state / "models")
            registry.promote(registry.add(folder, role="base", seal=make_seal(folder)).id, because="bench")
        remember(stack, Current())
        (place / "new.toml").rename(file)  # whole, or made again
    return file


class Server:
    """A process that serves. ``threads`` is what it may use of OpenMP."""

    def __init__(self, stack: Path, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lamina", "serve", "--stack", str(stack), "--json"],
            cwd=stack.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def url(self) -> str:
        """Once it says that it listens. Raises ``RuntimeError`` where it ends instead."""
        assert self._process.stdout
        said = []
        for line in self._process.stdout:
            said.append(line)
            if found := _ADDRESS.search(line):
                threading.Thread(target=self._process.stdout.read, daemon=True).start()
                return found[0]
        raise RuntimeError("the server ended: " + "".join(said))

    def close(self) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
