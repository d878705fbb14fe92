"""Long work that the API may start: each job is a ``lamina`` process of its own, so it can be killed and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from lamina.kit.durable import atomic_write
from lamina.kit.errors import BusyError, InputError, NotFoundError
from lamina.kit.identity import new_id
from lamina.recipes.stack import Stack

KINDS = ("improve",)


class ProcessJobs:
    """Starts ``lamina <kind>`` and keeps what it said; one job at a time."""

    def __init__(self, stack: Stack, assignments: tuple[str, ...] = ()) -> None:
        self._stack = stack
        self._assignments = assignments
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._lock = threading.Lock()

    def start(self, kind: str) -> str:
        """The id of the new job; ``BusyError`` while one runs."""
        if kind not in KINDS:
            raise InputError(f"there is no job '{kind}'", where="kind", hint="known: " + ", ".join(KINDS))
        with self._lock:
            if any(p.poll() is None for p in self._running.values()):
                raise BusyError("a job is running", hint="wait until it has ended: GET /v1/jobs/<id>")
            job = new_id("job")
            command = [sys.executable, "-m", "lamina", kind, "--json", "--stack", str(self._stack.file)]
            for assignment in self._assignments:
                command += ["--set", assignment]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
            )
            self._running[job] = process
            self._write(job, {"id": job, "kind": kind, "state": "running"})
            threading.Thread(target=self._watch, args=(job, kind, process), daemon=True, name=f"job-{job}").start()
            return job

    def state(self, id: str) -> Mapping[str, Any]:
        """``{"id", "kind", "state": running | succeeded | failed, "said"?, "result"?}``."""
        file = self._stack.state / "jobs" / f"{id}.json"
        if not id.replace("-", "").isalnum() or not file.is_file():
            raise NotFoundError(f"there is no job '{id}'")
        return dict(json.loads(file.read_text(encoding="utf-8")))

    def stop(self) -> None:
        """End what runs; a stage that was cut off resumes at the next start."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()

    def _watch(self, job: str, kind: str, process: subprocess.Popen[str]) -> None:
        said: list[str] = []
        for line in process.stdout or ():
            said = [*said[-199:], line.rstrip("\n")]
        code = process.wait()
        facts: dict[str, Any] = {
            "id": job,
            "kind": kind,
            "state": "failed" if code else "succeeded",
            "said": said[-20:],
        }
        start = next((i for i, line in enumerate(said) if line.startswith("{") and line.strip() == "{"), None)
        if code == 0 and start is not None:
            try:
                facts["result"] = json.loads("\n".join(said[start:]))
                facts["said"] = []
            except ValueError:
                pass
        self._write(job, facts)

    def _write(self, job: str, facts: dict[str, Any]) -> None:
        folder = self._stack.state / "jobs"
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / f"{job}.json", json.dumps(facts).encode())
