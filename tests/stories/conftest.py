"""Stories run the real command line in processes of their own, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

Lamina = Callable[..., subprocess.CompletedProcess[str]]


def run_lamina(
    *arguments: str, folder: Path, timeout: float = 560, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "lamina", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    if check:
        assert done.returncode == 0, f"lamina {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path, *settings: str) -> Iterator[str]:
    """``lamina serve`` in ``folder``; yields its address, ends it with SIGTERM."""
    port = free_port()
    command = [sys.executable, "-m", "lamina", "serve", "--set", f"interface.port={port}", *settings]
    log = (folder / "serve.log").open("w")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise AssertionError((folder / "serve.log").read_text())
            try:
                if httpx.get(f"{address}/health/ready", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield address
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        log.close()


@pytest.fixture(scope="session")
def lamina() -> Lamina:
    """``lamina("trace", id, folder=…)``: runs the command line, returns the finished process."""
    return run_lamina


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[str]]:
    """``with serve(folder, …settings) as address``."""
    return serving


@pytest.fixture(scope="session")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which ``lamina demo`` ran, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_lamina("demo", "--folder", str(folder), folder=folder).stdout
