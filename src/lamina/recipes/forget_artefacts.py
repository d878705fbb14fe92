"""What a removal does to the state folder: new corpora, passages and token shards first, then the old ones go.

Each step finds what an earlier, killed run has done. A corpus that the stack file still describes gets the name that
its stage has under the new tombstones, so that the next build finds it fresh; one that is only in use gets a name of
its own; any other that holds forgotten documents is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from lamina.contracts.lineage import ModelVersion
from lamina.data.forget import Gone, gone
from lamina.data.forget_files import derive, holds
from lamina.data.parts import rows_of
from lamina.data.tombstones import Removal, Tombstones
from lamina.kit.durable import atomic_write, digest_folder, failpoint, is_published, publish, read_manifest, remove
from lamina.kit.errors import LaminaError, NotFoundError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes import contamination
from lamina.recipes.current import recall, remember
from lamina.recipes.history import SHELF, forgetting
from lamina.recipes.ngrams import SHELF as NGRAMS
from lamina.recipes.plan import Plan, passages_stage
from lamina.recipes.removals import FOLDER, models_of, write_manifest
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry


class Sweep:
    """Carries the pending removals through."""

    def __init__(self, stack: Stack, workshop: Workshop, tombstones: Tombstones, progress: Progress) -> None:
        self._stack, self._workshop, self._progress = stack, workshop, progress
        self._tombstones = tombstones
        self._digest = str(tombstones.digest)
        self._notes = stack.state / FOLDER / f"{self._digest[:16]}.unfinished"
        notes = orjson.loads(self._notes.read_bytes()) if self._notes.exists() else {}
        self._facts: dict[str, dict[str, Any]] = notes.get("corpora", {})  # by the name of the old corpus
        self._moved: dict[str, dict[str, str | None]] = notes.get("moved", {})  # by shelf: old name to new name
        self._models: dict[str, list[str]] = notes.get("models", {})
        self._manifest: dict[str, Any] = {}

    def carry_out(self) -> dict[str, Any]:
        """Do what is left to do; the manifest of the removal."""
        stage = self._stage()
        for corpus in sorted((self._stack.state / SHELF).glob("*")):
            if is_published(corpus) and corpus.name not in self._facts and corpus.name not in self._made(stage):
                self._derive(corpus, stage)
                failpoint("forget.corpus")
        self._moved = self._moved or self._dependents(stage)
        self._models = self._models or models_of(self._tombstones, self._trained(), self._versions())
        self._write_notes()
        failpoint("forget.dependents")
        self._point()
        failpoint("forget.current")
        self._delete(stage)
        failpoint("forget.deleted")
        told = {"corpora": list(self._facts.values()), "artefacts": self._moved, **self._models}
        self._manifest = write_manifest(self._stack, self._tombstones, told)
        return self._manifest

    def done(self, removal: Removal) -> dict[str, Any]:
        """What the log says of a removal that was carried through."""
        return {
            "manifest": self._manifest["sha256"],
            "of": self._manifest["id"],
            "corpora": {name: facts["new"] for name, facts in self._facts.items()},
            "versions": self._manifest["versions"],
            "runs": self._manifest["runs"],
        }

    def close(self) -> None:
        """Nothing is left to go on with."""
        remove(self._notes)

    # -- corpora -----------------------------------------------------------------------------------------------------

    def _stage(self) -> Stage | None:
        """The corpus' stage under the new tombstones; None where the sources cannot be had now."""
        try:
            return Plan(self._stack, self._workshop, self._progress, derives=True).corpus
        except LaminaError as error:
            self._progress.say(f"the corpus is stale ({error}): it is built anew from its sources next time")
            return None

    def _before(self, stage: Stage) -> list[str]:
        """The names that the corpus has had under earlier tombstones, the last one first."""
        digests = [removal.before for removal in reversed(self._tombstones.removals)]
        return [self._workshop.key(forgetting(stage, digest)) for digest in digests]

    def _made(self, stage: Stage | None) -> set[str]:
        made = {str(facts["new"]) for facts in self._facts.values() if facts["new"]}
        return made | ({self._workshop.key(stage)} if stage else set())

    def _derive(self, corpus: Path, stage: Stage | None) -> None:
        """A corpus without what is forgotten, published; or the note that it is to be deleted."""
        what = gone(corpus, self._stack.state, self._digest)
        names = self._before(stage) if stage else []
        standing = next((n for n in names if is_published(self._stack.state / SHELF / n)), None)
        if corpus.name != standing and not what.traces:
            return
        folder: Path | None = None
        if what.rows.height == rows_of((corpus / "data").glob("*.parquet")):
            self._progress.say(f"no document of the corpus {corpus.name[:12]} is left")
        elif stage is not None and corpus.name == standing:
            folder = self._workshop.adopt(stage, lambda staging: derive(corpus, staging, what))
        elif corpus.name in self._in_use():
            folder = corpus.with_name(blake3_hex(corpus.name, self._digest)[:32])
            if not is_published(folder):
                with publish(folder) as staging:
                    derive(corpus, staging, what)
            self._workshop.renamed("corpus", corpus.name, folder.name)
        self._note(corpus, folder, what)

    def _note(self, corpus: Path, folder: Path | None, what: Gone) -> None:
        ways = what.rows["how"].value_counts().iter_rows() if what.rows.height else ()
        self._facts[corpus.name] = {
            "old": corpus.name,
            "old_digest": digest_folder(corpus),
            "new": folder.name if folder else None,
            "new_digest": digest_folder(folder) if folder else None,
            "documents": dict(ways),
            "train": int((what.rows["split"] == "train").sum()),
            "files": _compared(corpus, folder),
        }
        self._write_notes()

    def _write_notes(self) -> None:
        told = {"corpora": self._facts, "moved": self._moved, "models": self._models}
        atomic_write(self._notes, orjson.dumps(told))

    def _in_use(self) -> set[str]:
        recorded = self._workshop.recorded("corpus") or {}
        names = {recorded.get("key")}
        with suppress(NotFoundError):
            names.add(recall(self._stack).corpus)
        return {name for name in names if name}

    def _trained(self) -> set[str]:
        """Corpora that training documents were taken from."""
        return {name for name, facts in self._facts.items() if facts["train"]}

    def _versions(self) -> Sequence[ModelVersion]:
        """The stack's models, where it has a database of them."""
        place = self._stack.database
        if isinstance(place, Path) and not place.exists():
            return ()
        with open_registry(self._stack) as registry:
            return registry.versions()

    # -- what is made of them ----------------------------------------------------------------------------------------

    def _dependents(self, stage: Stage | None) -> dict[str, dict[str, str | None]]:
        """Passages and token shards of the new corpora; old name to new name, by shelf."""
        moved: dict[str, dict[str, str | None]] = {SHELF: {}, "passages": {}, "tokens": {}}
        for name, facts in self._facts.items():
            old = self._stack.state / SHELF / name
            new = old.with_name(facts["new"]) if facts["new"] else None
            moved[SHELF][name] = facts["new"]
            if not is_published(old):  # deleted by the run that was killed
                continue
            passages = self._workshop.folder(passages_stage(old))
            if is_published(passages):
                moved["passages"][passages.name] = self._workshop.run(passages_stage(new)).name if new else None
            if stage is not None and new is not None and new.name == self._workshop.key(stage):
                moved["tokens"] |= self._tokens(old)
        return moved

    def _tokens(self, old: Path) -> dict[str, str | None]:
        """The token shards of the stack's corpus: those of ``old`` without what is forgotten, and new chat rows."""
        if self._stack.model is None or self._stack.model.train is None:
            return {}
        plan = Plan(self._stack, self._workshop, self._progress, derives=True)
        try:
            before = replace(plan.tokens, inputs={**plan.tokens.inputs, "corpus": old})
            shards = self._workshop.folder(before)
            self._workshop.key(plan.tokens)
        except LaminaError as error:  # a tokenizer of the corpus' own, or no base at hand
            self._progress.say(f"token shards are written anew by the next lamina up ({error})")
            return {}
        if not is_published(shards):
            return {}
        plan = Plan(self._stack, self._workshop, self._progress, derives=True, reuse=shards)
        return {shards.name: self._workshop.run(plan.tokens).name}

    def _point(self) -> None:
        """Let what is served and improved stand on the new artefacts."""
        try:
            current = recall(self._stack)
        except NotFoundError:
            return
        shelves = {"corpus": SHELF, "passages": "passages", "tokens": "tokens"}
        changes: dict[str, str | None] = {}
        for field, shelf in shelves.items():
            name = getattr(current, field)
            if name in self._moved[shelf]:
                changes[field] = self._moved[shelf][name]
            elif name and shelf == "tokens" and self._holds(self._stack.state / shelf / name):
                changes[field] = None
        if "tokens" in changes:  # what was learned and counted of them, the next build learns and counts anew
            changes["vectors"] = changes["ngrams"] = None
        if changes:
            remember(self._stack, replace(current, **changes))

    # -- deletion ----------------------------------------------------------------------------------------------------

    def _delete(self, stage: Stage | None) -> None:
        """The old artefacts, and whatever killed stages have left in their work folders."""
        state, data = self._stack.state, self._stack.data
        stale = [folder for folder in sorted((state / "tokens").glob("*")) if self._holds(folder)]
        for name in self._facts:
            old = state / SHELF / name
            if is_published(old):
                stale.append(self._workshop.folder(passages_stage(old)))
                if data is not None and stage is not None and data.tokenizer.use != "base":
                    plan = Plan(self._stack, self._workshop, self._progress, derives=True)
                    stale.append(self._workshop.folder(replace(plan.tokenizer, inputs={"corpus": old})))
        stale += [state / SHELF / name for name in self._facts]
        if self._facts:
            stale += [folder for folder in sorted((state / "work").glob("*")) if folder.is_dir()]
            stale += sorted((state / contamination.SHELF).glob("*"))  # which documents hold questions: told anew
        if stale:
            stale += [folder for shelf in ("vectors", NGRAMS) for folder in sorted((state / shelf).glob("*"))]
        for folder in stale:
            remove(folder)

    def _holds(self, folder: Path) -> bool:
        """Whether token shards have a document that is forgotten: by the ids that went from the corpora."""
        return holds([folder / part / "documents.parquet" for part in ("documents", "replay")], self._ids)

    @cached_property
    def _ids(self) -> frozenset[str]:
        found: set[str] = set()
        for name in self._facts:
            corpus = self._stack.state / SHELF / name
            if is_published(corpus):
                found |= gone(corpus, self._stack.state, self._digest).traces
        return frozenset(found)


def _compared(old: Path, new: Path | None) -> dict[str, list[str]]:
    """Names of the files that are other than before, that are no more, and that are the same byte for byte."""
    before = read_manifest(old)["files"]
    now = read_manifest(new)["files"] if new is not None else {}
    return {
        "rewritten": [name for name, entry in now.items() if before.get(name) != entry],
        "removed": [name for name in before if name not in now],
        "reused": [name for name, entry in now.items() if before.get(name) == entry],
    }
