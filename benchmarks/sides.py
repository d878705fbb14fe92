"""The sides of a benchmark as processes: a line of JSON asks for a turn, a line `turn {…}` tells how it went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Side:
    """A process that works when it is told to. ``threads`` is what it may use of OpenMP."""

    def __init__(self, command: list[str], threads: int | None = None) -> None:
        given = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("BENCH_TALKS") else None,
            text=True,
            env={**os.environ, **given, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        )

    def turn(self, asked: int | Mapping[str, Any], *, patience_s: float = 3600.0) -> dict[str, Any]:
        """What the side tells of it. Raises ``RuntimeError`` where it ends instead, or takes longer (it is ended)."""
        assert self._process.stdin
        assert self._process.stdout
        late = threading.Event()
        timer = threading.Timer(patience_s, lambda: (late.set(), self._process.kill()))
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                if line.startswith("turn "):
                    found: dict[str, Any] = json.loads(line.removeprefix("turn "))
                    return found
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        if late.is_set():
            raise RuntimeError(f"no answer within {patience_s:g} s")
        raise RuntimeError("its process ended (BENCH_TALKS=1 shows what it said)")

    def close(self) -> None:
        """Ask for no more."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it may have ended by itself, with a question unread
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()


def questions() -> Iterator[Any]:
    """In a side: what it is asked, until nobody asks for more."""
    return map(json.loads, sys.stdin)


def tell(told: Mapping[str, Any]) -> None:
    """In a side: answer the question."""
    sys.stdout.write("turn " + json.dumps(told) + "\n")
    sys.stdout.flush()


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| work | peer | ours | theirs | ratio | spread | quality |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if row["ratio"] is None:
            lines.append(f"| {row['work']} | {row['peer']} | - | {row['theirs']} | - | - | {row['quality']} |")
            continue
        rates = f"{row['ours']:.1f} {row['unit']} | {row['theirs']:.1f} {row['unit']}"
        lines.append(
            f"| {row['work']} | {row['peer']} | {rates} | {row['ratio']:.2f} | {row['spread']} | {row['quality']} |"
        )
    return "\n".join(lines)
