"""Stages: pieces of work whose result is a published folder named by everything that went into it.

    workshop = Workshop(state, progress)
    corpus = workshop.run(Stage(name="corpus", shelf="corpora", function="lamina.recipes.corpus:build",
                                parameters={...}, inputs={}, versions={"language": 1}))

Unchanged inputs mean the same key, and nothing is done again. A stage runs in a child process that dies with its
parent; what it left in its work folder when it was killed is there when it runs again. A second run is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from blake3 import blake3

from lamina.kit import process_lock, spawn
from lamina.kit.durable import (
    Stamps,
    atomic_write,
    canonical,
    digest_folder,
    is_published,
    make_folder,
    open_append,
    publish,
    remove,
    stamps,
    sweep,
    verify,
)
from lamina.kit.errors import BusyError, ConfigError, LaminaError, NotFoundError, StageError, restored
from lamina.kit.process import Child, end, how_it_ended, terminable
from lamina.kit.progress import Progress
from lamina.kit.stage_relay import Relay

JSON = Any  # str, int, float, bool, None, and lists and string-keyed mappings of them
_FORMAT = 1  # a change makes every stage stale


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One piece of work.

    ``function`` ("module:function") is called in the child as ``function(staging, work, parameters, inputs,
    progress)``; ``shelf`` is the folder of the state that its results stand in; ``inputs`` are published folders;
    ``versions`` are those of the registered functions that it uses. ``context`` reaches the function as
    ``parameters["context"]`` but does not decide staleness: where things lie, not what they are.
    """

    name: str
    shelf: str
    function: str
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    context: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How a stage stands, and why."""

    state: Literal["fresh", "stale", "running", "interrupted"]
    why: str


class Workshop:
    """Runs stages over the folder ``state``."""

    def __init__(self, state: Path, progress: Progress) -> None:
        self.state = state.absolute()
        self._progress = progress
        self._whole: dict[Path, Stamps] = {}  # folders of which every byte was read, and what their files were then

    def key(self, stage: Stage) -> str:
        """The name of the stage's result: blake3 (128 bits, hex) of all that goes into it."""
        return blake3(canonical(self._recipe(stage))).hexdigest(length=16)

    def folder(self, stage: Stage) -> Path:
        """Where the stage's result stands, or will."""
        return self.state / stage.shelf / self.key(stage)

    def fresh(self, stage: Stage) -> bool:
        """Whether the result stands, every file with its recorded size."""
        try:
            return is_published(self.folder(stage))
        except NotFoundError:  # an input is not there yet
            return False

    def condition(self, stage: Stage) -> Condition:
        """How the stage stands, and which change made it stale."""
        try:
            key = self.key(stage)
        except NotFoundError as error:
            return Condition(state="stale", why=str(error))
        if process_lock.is_held(self._lock(key)):
            return Condition(state="running", why=process_lock.describe(process_lock.holder(self._lock(key))))
        if is_published(self.folder(stage)):
            return Condition(state="fresh", why="nothing changed")
        if self._work(key).is_dir():
            return Condition(state="interrupted", why="the last run did not end; the next one goes on from there")
        return Condition(state="stale", why=self._changes(stage))

    def log(self, stage: Stage) -> Path:
        """Where the stage's output is written."""
        return self.state / "logs" / f"{stage.name}-{self.key(stage)}.log"

    def run(self, stage: Stage) -> Path:
        """Make the stage's result, or return at once if it stands.

        Raises what the stage raised (a ``LaminaError`` with its type, anything else as ``StageError`` naming the
        log), and ``BusyError`` while another process runs the same stage.
        """
        key, folder = self.key(stage), self.folder(stage)
        if is_published(folder) and not self._work(key).exists():
            return folder
        with process_lock.hold(self._lock(key), f"stage '{stage.name}'") as held:
            if not is_published(folder):
                self._make(stage, key, folder, held)
            remove(self._work(key))
        return folder

    def adopt(self, stage: Stage, write: Callable[[Path], None]) -> Path:
        """Let ``write`` fill an empty folder, in this process, that becomes the stage's result unless it stands.

        For what follows faster from another result than from the inputs: who calls vouches that it is what the stage
        would make.
        """
        key, folder = self.key(stage), self.folder(stage)
        with process_lock.hold(self._lock(key), f"stage '{stage.name}'"):
            if not is_published(folder):
                with publish(folder) as staging:
                    write(staging)
            self._remember(stage, key)
        return folder

    def recorded(self, name: str) -> dict[str, Any] | None:
        """``key``, ``made`` and ``recipe`` of the stage's last result; None where there is none."""
        try:
            return dict(json.loads((self.state / "stages" / f"{name}.json").read_bytes()))
        except (OSError, ValueError):
            return None

    def renamed(self, name: str, old: str, new: str) -> None:
        """Let the record of the stage ``name`` point at ``new``, where it points at ``old``."""
        note = self.recorded(name)
        if note is not None and note["key"] == old:
            atomic_write(
                self.state / "stages" / f"{name}.json",
                json.dumps(note | {"key": new}, indent=1, ensure_ascii=False).encode(),
            )

    def running(self) -> bool:
        """Whether any stage of this state runs now."""
        return any(process_lock.is_held(path) for path in (self.state / "locks").glob("*.lock"))

    def _make(self, stage: Stage, key: str, folder: Path, held: int) -> None:
        for path in stage.inputs.values():
            self._verify(path)
        sweep(folder, older_than_s=0)
        make_folder(self._work(key))
        with terminable():
            self._run_child(stage, folder, self._work(key), held)
        self._verify(folder)
        self._remember(stage, key)

    def _verify(self, folder: Path) -> None:
        """Read every byte of ``folder``, unless this object has, and no file was touched since."""
        seen = stamps(folder)
        if self._whole.get(folder) != seen:
            verify(folder)
            self._whole[folder] = seen

    def _remember(self, stage: Stage, key: str) -> None:
        note = {"key": key, "made": datetime.now(UTC).isoformat(timespec="seconds"), "recipe": self._recipe(stage)}
        atomic_write(self._note(stage), json.dumps(note, indent=1, ensure_ascii=False).encode())

    def _run_child(self, stage: Stage, folder: Path, work: Path, held: int) -> None:
        request = {
            "function": stage.function,
            "folder": str(folder),
            "work": str(work),
            "parameters": {**stage.parameters, "context": stage.context},
            "inputs": {name: str(path.absolute()) for name, path in stage.inputs.items()},
        }
        log = self.log(stage)
        with _child(stage.function, log, held) as (child, told, relay_from):
            relay = Relay(self._progress)
            with suppress(BrokenPipeError):
                told.write(canonical(request))
                told.close()
            try:
                for line in relay_from:
                    relay.take(line)
            finally:
                relay.close()
            status = child.wait()
        if relay.error is not None:
            raise _as_raised(relay.error, stage, log)
        if status != 0 or not relay.done:
            raise StageError(
                f"stage '{stage.name}' {how_it_ended(status)}",
                where=str(log),
                hint="run it again: it goes on from where it stopped",
            )

    def _recipe(self, stage: Stage) -> dict[str, Any]:
        digests = {}
        for name, path in stage.inputs.items():
            if not path.exists():
                raise NotFoundError(f"the input '{name}' of stage '{stage.name}' is not made yet", where=str(path))
            digests[name] = digest_folder(path)
        recipe = {
            "format": _FORMAT,
            "name": stage.name,
            "parameters": stage.parameters,
            "inputs": digests,
            "versions": dict(stage.versions),
        }
        try:
            return dict(json.loads(canonical(recipe)))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the parameters are not plain values: {error}", where=f"stage '{stage.name}'") from error

    def _changes(self, stage: Stage) -> str:
        before = (self.recorded(stage.name) or {}).get("recipe")
        if before is None:
            return "it was never made"
        changes = list(_differences(before, self._recipe(stage), ""))
        return "; ".join(changes[:5]) or "its result was deleted or damaged"

    def _work(self, key: str) -> Path:
        return self.state / "work" / key

    def _lock(self, key: str) -> Path:
        return self.state / "locks" / f"{key}.lock"

    def _note(self, stage: Stage) -> Path:
        return self.state / "stages" / f"{stage.name}.json"


@contextmanager
def _child(function: str, log: Path, held: int) -> Iterator[tuple[Child, Any, Any]]:
    """A child process as (process, its standard input, the lines that it reports); it is ended with the block."""
    with ExitStack() as stack:
        out = open_append(log)
        stack.callback(os.close, out)
        read, write = os.pipe()
        reports = stack.enter_context(os.fdopen(read, "rb"))
        try:
            # With the lock's descriptor the child holds the lock as well.
            child = spawn.start("lamina.kit.stage_child", fds=(write, held), function=function, stdout=out, stderr=out)
        finally:
            os.close(write)
        stack.callback(end, child)
        yield child, child.stdin, reports


def _as_raised(report: Mapping[str, Any], stage: Stage, log: Path) -> LaminaError:
    error = restored(report)
    if isinstance(error, StageError) and "StageError" not in report["types"]:  # nobody foresaw it
        return StageError(f"stage '{stage.name}' failed: {error.what}", where=str(log), hint="the log has the details")
    return error


def _differences(before: Any, now: Any, place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), f"{place}.{key}" if place else key)
    elif before != now:
        yield f"{place} was {_short(before)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


__all__ = ["BusyError", "Condition", "Stage", "Workshop"]
