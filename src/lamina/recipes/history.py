"""What was before a corpus is built: the tombstones, which decide what is in it, and the last build, which passes may
go on from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamina.data.clean.duplicates import EARLIER
from lamina.data.duplicates.index import identity
from lamina.data.forgetting import History
from lamina.data.tombstones import Tombstones
from lamina.kit.durable import is_published
from lamina.kit.errors import ConfigError, StageError
from lamina.kit.stages import Stage, Workshop

SHELF = "corpora"


def chosen(workshop: Workshop, stage: Stage, *, keep: bool = False) -> Stage:
    """The corpus' stage with its history: what is forgotten, and where the steps ask for it, the index that it builds
    on.

    A corpus that builds on an index stays fresh as long as nothing but that index is newer. ``keep``: the index of the
    last build, whatever else changed: for a corpus that is derived and not built.
    """
    last = last_corpus(workshop)
    tombstones = Tombstones(workshop.state).digest
    told = {"earlier": str(last) if last else None, "state": str(workshop.state), "tombstones": tombstones}
    stage = forgetting(replace(stage, context={**stage.context, "history": told}), tombstones)
    if not _builds_on(stage.parameters.get("steps", ())):
        return stage
    recorded = workshop.recorded("corpus") or {}
    before = recorded.get("recipe", {}).get("parameters", {}).get("earlier")
    stood = _on(stage, before)
    return stood if keep or workshop.fresh(stood) else _on(stage, _index_of(last))


def forgetting(stage: Stage, tombstones: str | None) -> Stage:
    """The corpus' stage under other tombstones."""
    rest = {name: value for name, value in stage.parameters.items() if name != "tombstones"}
    return replace(stage, parameters=rest | ({"tombstones": tombstones} if tombstones else {}))


def last_corpus(workshop: Workshop) -> Path | None:
    """The folder of the corpus that was made last, where it stands."""
    recorded = workshop.recorded("corpus")
    folder = workshop.state / SHELF / recorded["key"] if recorded else None
    return folder if folder is not None and is_published(folder) else None


def history_of(context: Mapping[str, Any]) -> History:
    """The history in a stage's context."""
    told = context.get("history") or {}
    earlier, state = told.get("earlier"), told.get("state")
    return History(
        earlier=Path(earlier) if earlier else None,
        state=Path(state) if state else None,
        tombstones=told.get("tombstones"),
    )


def check_unchanged(history: History) -> None:
    """Raises ``StageError`` where something was forgotten since: what was built meanwhile may still hold it."""
    if history.state is not None and Tombstones(history.state).digest != history.tombstones:
        raise StageError("something was forgotten while the corpus was built", hint="run it again")


def _builds_on(steps: Iterable[Mapping[str, Any]]) -> bool:
    return any(step.get("pass") == "duplicates" and EARLIER in step.get("against", ()) for step in steps)


def _on(stage: Stage, index: str | None) -> Stage:
    return replace(stage, parameters={**stage.parameters, "earlier": index})


def _index_of(corpus: Path | None) -> str | None:
    """What the index of a corpus holds; None where it has none."""
    if corpus is None:
        return None
    try:
        return identity(corpus / "indexes" / "duplicates")
    except ConfigError:
        return None
