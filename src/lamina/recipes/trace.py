"""``lamina trace``: an answer back to its version, run, snapshot, corpus, documents and sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lamina.contracts.feedback import Interaction, InteractionStore
from lamina.contracts.lineage import Link, ModelVersion, Releases, Trace
from lamina.kit.database import Database
from lamina.kit.errors import NotFoundError
from lamina.recipes.stack import Stack


class StackLineage:
    """Lineage over a stack's registry, store and state folder."""

    def __init__(self, stack: Stack, releases: Releases, store: InteractionStore) -> None:
        self._state = stack.state
        self._releases = releases
        self._store = store

    def trace(self, id: str) -> Trace:
        """The chain behind an answer, a version or a feedback row; raises ``NotFoundError``."""
        interaction = self._store.interaction(id)
        if interaction is not None:
            return Trace(id=id, links=(*self._answer(interaction), *self._version(interaction.version)))
        try:
            return Trace(id=id, links=tuple(self._version(self._releases.resolve(id).id)))
        except NotFoundError:
            pass
        raise NotFoundError(
            f"nothing is known by the id '{id}'", hint="an answer's id is in its response; versions: v1, v2"
        )

    def _answer(self, interaction: Interaction) -> Iterator[Link]:
        yield Link(
            "answer",
            interaction.id,
            {
                "asked": interaction.messages[-1].content if interaction.messages else "",
                "answer": interaction.answer,
                "adapter": json.loads(interaction.made or "{}").get("adapter", ""),
                "grounding": interaction.grounding,
                "sources": list(interaction.sources),
                "created": interaction.created.isoformat(),
                "split": interaction.split,
            },
        )
        for row in self._store.feedback_for(interaction.id):
            facts = {"kind": row.kind, "value": json.loads(row.value), "reasons": list(row.reasons)}
            yield Link("feedback", row.id, facts)

    def _version(self, name: str) -> Iterator[Link]:
        seen: set[str] = set()
        version: ModelVersion | None = self._releases.resolve(name)
        while version is not None and version.id not in seen:
            seen.add(version.id)
            facts = {"role": version.role, "digest": version.digest, "parent": version.parent, **version.metrics}
            yield Link("version", version.id, facts | {"created": version.created.isoformat()})
            if version.run:
                yield Link("run", version.run, _read(self._state / "runs" / version.run / "run.json"))
            if version.snapshot:
                yield Link(
                    "snapshot", version.snapshot, _read(self._state / "snapshots" / version.snapshot / "facts.json")
                )
            if version.corpus:
                yield from self._corpus(version.corpus)
            version = self._parent(version)
            if version is None:
                return

    def _parent(self, version: ModelVersion) -> ModelVersion | None:
        try:
            return self._releases.resolve(version.parent) if version.parent else None
        except NotFoundError:
            return None

    def _corpus(self, corpus: str) -> Iterator[Link]:
        report = _read(self._state / "corpora" / corpus / "report.json")
        yield Link("corpus", corpus, {k: v for k, v in report.items() if not isinstance(v, dict | list)})
        for name, facts in sorted(report.get("sources", {}).items()):
            yield Link("source", name, facts)


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {"missing": f"{file.name} is not there any more"}


@contextmanager
def open_lineage(stack: Stack) -> Iterator[StackLineage]:
    """The lineage of a stack, over its database."""
    from lamina.deployment.registry import ModelRegistry
    from lamina.interface.store import FeedbackStore

    stack.state.mkdir(parents=True, exist_ok=True)
    database = Database.open(stack.database)
    try:
        yield StackLineage(stack, ModelRegistry(database, stack.state / "models"), FeedbackStore(database))
    finally:
        database.close()


def describe(trace: Trace, *, as_json: bool) -> Any:
    """For people: a line for each link; for machines: the links."""
    if as_json:
        return {"id": trace.id, "links": [asdict(link) for link in trace.links]}
    lines = []
    for depth, link in enumerate(trace.links):
        facts = ", ".join(f"{k} {_short(v)}" for k, v in link.facts.items() if v not in (None, "", [], {}))
        lines.append(f"{'  ' * min(depth, 6)}{link.kind} {link.id[:24]}: {facts}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else value
    return text if len(text) <= 80 else text[:77] + "…"
