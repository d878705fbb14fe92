"""The versions of a stack's model: immutable files by content, names and history in the database.

Every change of a name is one transaction that also counts the epoch up, so a reader sees the old state or the new one,
and whoever acts on an old epoch can tell. Rolling back is naming an earlier version again; no file is copied or lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from lamina.contracts.lineage import Alias, ModelVersion, Receipt
from lamina.deployment.blobs import BlobStore, FileMap, digest_of, file_map, folder_digest
from lamina.deployment.quality import check_quality
from lamina.kit.database import Cursor, Database
from lamina.kit.errors import InputError, NotFoundError

__all__ = ["ModelRegistry", "folder_digest"]

CHAMPION: Alias = "champion"
CHALLENGER: Alias = "challenger"
_MIGRATIONS = (
    """
    CREATE TABLE versions (
        id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, digest TEXT NOT NULL UNIQUE, parent TEXT, run TEXT,
        corpus TEXT, snapshot TEXT, role TEXT NOT NULL, state TEXT NOT NULL, metrics TEXT NOT NULL, seal TEXT NOT NULL,
        created TEXT NOT NULL
    );
    CREATE TABLE version_files (
        version TEXT NOT NULL REFERENCES versions (id), name TEXT NOT NULL, size BIGINT NOT NULL, sha256 TEXT NOT NULL,
        PRIMARY KEY (version, name)
    );
    CREATE TABLE aliases (alias TEXT PRIMARY KEY, version TEXT NOT NULL REFERENCES versions (id));
    CREATE TABLE alias_history (
        epoch INTEGER PRIMARY KEY, alias TEXT NOT NULL, action TEXT NOT NULL, version TEXT, previous TEXT,
        because TEXT NOT NULL, created TEXT NOT NULL
    );
    CREATE TABLE receipts (
        id TEXT PRIMARY KEY, champion TEXT NOT NULL, challenger TEXT NOT NULL, verdict TEXT NOT NULL,
        reasons TEXT NOT NULL, results TEXT NOT NULL, snapshot TEXT, decided_by TEXT NOT NULL, created TEXT NOT NULL
    )
    """,
)
_COLUMNS = "id, number, digest, parent, run, corpus, snapshot, role, metrics, created"


class ModelRegistry:
    """``contracts.lineage.Releases`` over ``database`` and the folder ``root``; may be used from several processes."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database = database
        self._blobs = BlobStore(root)
        database.migrate("registry", _MIGRATIONS)

    # -- versions -------------------------------------------------------------------------------------------------

    def add(
        self,
        folder: Path,
        *,
        role: str,
        parent: str | None = None,
        run: str | None = None,
        corpus: str | None = None,
        snapshot: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        seal: Mapping[str, Any] | None = None,
        quality: float | None = None,
    ) -> ModelVersion:
        """Store the model in ``folder`` as a new version, durably; the same files again are the version that stands.

        ``seal`` is what ``seal.make_seal(folder)`` gave; ``quality``: see ``check_quality``, whose errors it raises.
        Raises ``NotFoundError`` for an empty or missing folder.
        """
        if role not in ("base", "documents", "feedback"):
            raise InputError(f"a version's role cannot be '{role}'", hint="base, documents or feedback")
        files = file_map(folder)
        if "config.json" not in files:
            raise NotFoundError("there is no model here: config.json is missing", where=str(folder))
        check_quality(folder, quality)
        for name, (_, digest) in files.items():
            self._blobs.put(folder / name, digest)
        row = {
            "digest": digest_of(files),
            "parent": parent,
            "run": run,
            "corpus": corpus,
            "snapshot": snapshot,
            "role": role,
            "metrics": json.dumps(dict(metrics or {})),
            "seal": json.dumps(dict(seal or {})),
            "created": _now(),
        }

        def insert(cursor: Cursor) -> str:
            standing = cursor.read("SELECT id FROM versions WHERE digest = :digest", digest=row["digest"])
            if standing:
                return str(standing[0]["id"])
            number = 1 + int(cursor.read("SELECT COALESCE(MAX(number), 0) AS n FROM versions")[0]["n"])
            cursor.write(
                "INSERT INTO versions (id, number, digest, parent, run, corpus, snapshot, role, state, metrics, seal,"
                " created) VALUES (:id, :number, :digest, :parent, :run, :corpus, :snapshot, :role, 'verified',"
                " :metrics, :seal, :created)",
                id=f"v{number}",
                number=number,
                **row,
            )
            query = "INSERT INTO version_files (version, name, size, sha256) VALUES (:version, :name, :size, :sha)"
            for name, (size, digest) in files.items():
                cursor.write(query, version=f"v{number}", name=name, size=size, sha=digest)
            return f"v{number}"

        return self.resolve(self._database.transact(insert))

    def versions(self) -> Sequence[ModelVersion]:
        """All versions, oldest first."""
        return [_version(r) for r in self._database.read(f"SELECT {_COLUMNS} FROM versions ORDER BY number")]

    def resolve(self, name: str) -> ModelVersion:
        """By alias or version id; "" is the champion. Raises ``NotFoundError``."""
        name = name or CHAMPION
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM versions"
            " WHERE id = :name OR id = (SELECT version FROM aliases WHERE alias = :name)",
            name=name,
        )
        if not rows:
            known = [*self.aliases(), *(v.id for v in self.versions())]
            raise NotFoundError(
                f"there is no model '{name}'", hint="known: " + ", ".join(known) if known else "no version was made yet"
            )
        return _version(rows[0])

    def folder(self, version: str) -> Path:
        """A version's Hugging Face folder, every byte checked; treat it as read-only.

        Raises ``CorruptError`` naming the file whose bytes are not those that were recorded.
        """
        found = self.resolve(version)
        return self._blobs.folder(self._files(found.id), found.digest)

    def look_ahead(self, id: str) -> None:
        """Begin to check the bytes of a version in a thread: ``folder`` will be asked for it soon."""
        self._blobs.look_ahead(self._files(id))

    def _files(self, id: str) -> FileMap:
        rows = self._database.read("SELECT name, size, sha256 FROM version_files WHERE version = :id", id=id)
        return {r["name"]: (int(r["size"]), r["sha256"]) for r in rows}

    def seal(self, version: str) -> dict[str, Any]:
        """The parity seal that was recorded with the version; empty where there was none."""
        rows = self._database.read("SELECT seal FROM versions WHERE id = :id", id=self.resolve(version).id)
        return dict(json.loads(rows[0]["seal"]))

    # -- names ----------------------------------------------------------------------------------------------------

    def epoch(self) -> int:
        """Counts up with each change of a name; 0 before the first."""
        return int(self._database.read("SELECT COALESCE(MAX(epoch), 0) AS n FROM alias_history")[0]["n"])

    def aliases(self) -> Mapping[str, str]:
        """Alias → version id."""
        rows = self._database.read("SELECT alias, version FROM aliases ORDER BY alias")
        return {row["alias"]: row["version"] for row in rows}

    def set_alias(self, alias: str, version: str | None, *, because: str = "") -> None:
        """Let ``alias`` name ``version``; None takes the name away. Changes nothing where it is so already."""
        if alias not in get_args(Alias):
            raise InputError(f"there is no alias '{alias}'", hint="known: " + ", ".join(get_args(Alias)))
        found = None if version is None else self.resolve(version).id
        action = "promote" if alias == CHAMPION else "name"
        self._database.transact(lambda cursor: _name(cursor, alias, found, action, because))

    def promote(self, version: str, *, because: str) -> None:
        """Make ``version`` the champion; a challenger of that id is no challenger any more. Idempotent."""
        found = self.resolve(version).id

        def change(cursor: Cursor) -> None:
            _name(cursor, CHAMPION, found, "promote", because)
            if _named(cursor, CHALLENGER) == found:
                _name(cursor, CHALLENGER, None, "name", because)

        self._database.transact(change)

    def rollback(self, *, because: str, expected: str | None = None) -> str:
        """Make the champion before the present one champion again; returns its id.

        With ``expected`` a repeat does nothing more: it acts only while that version is the champion. Raises
        ``NotFoundError`` where there was none before.
        """

        def change(cursor: Cursor) -> str:
            present = _named(cursor, CHAMPION)
            if expected is not None and present is not None and present != expected:
                return present
            line = _line_of_champions(cursor)
            if len(line) < 2:
                raise NotFoundError("there is no earlier champion to go back to")
            _name(cursor, CHAMPION, line[-2], "rollback", because)
            return line[-2]

        return self._database.transact(change)

    def history(self) -> Sequence[Mapping[str, Any]]:
        """Every change of a name: epoch, alias, action, version, previous, because, created; oldest first."""
        return self._database.read("SELECT * FROM alias_history ORDER BY epoch")

    # -- receipts -------------------------------------------------------------------------------------------------

    def add_receipt(self, receipt: Receipt) -> None:
        """Keep why a version was promoted, rejected or left undecided. The same id again changes nothing."""
        row = {
            "id": receipt.id,
            "champion": receipt.champion,
            "challenger": receipt.challenger,
            "verdict": receipt.verdict,
            "reasons": json.dumps(list(receipt.reasons)),
            "results": json.dumps(dict(receipt.results)),
            "snapshot": receipt.snapshot,
            "decided_by": receipt.decided_by,
            "created": receipt.created.astimezone(UTC).isoformat(),
        }

        def insert(cursor: Cursor) -> None:
            if not cursor.read("SELECT id FROM receipts WHERE id = :id", id=receipt.id):
                names = ", ".join(row)
                cursor.write(f"INSERT INTO receipts ({names}) VALUES (:{names.replace(', ', ', :')})", **row)

        self._database.transact(insert)

    def receipts(self) -> Sequence[Receipt]:
        """All receipts, oldest first."""
        rows = self._database.read("SELECT * FROM receipts ORDER BY created, id")
        return [
            Receipt(
                **r
                | {
                    "reasons": tuple(json.loads(r["reasons"])),
                    "results": json.loads(r["results"]),
                    "created": datetime.fromisoformat(r["created"]),
                }
            )
            for r in rows
        ]


def _named(cursor: Cursor, alias: str) -> str | None:
    rows = cursor.read("SELECT version FROM aliases WHERE alias = :alias", alias=alias)
    return str(rows[0]["version"]) if rows else None


def _name(cursor: Cursor, alias: str, version: str | None, action: str, because: str) -> None:
    """Point ``alias`` at ``version``, write it into the history at the next epoch, and move the versions' states."""
    previous = _named(cursor, alias)
    if previous == version:
        return
    cursor.write("DELETE FROM aliases WHERE alias = :alias", alias=alias)
    if version is not None:
        cursor.write("INSERT INTO aliases (alias, version) VALUES (:alias, :version)", alias=alias, version=version)
    epoch = 1 + int(cursor.read("SELECT COALESCE(MAX(epoch), 0) AS n FROM alias_history")[0]["n"])
    cursor.write(
        "INSERT INTO alias_history (epoch, alias, action, version, previous, because, created)"
        " VALUES (:epoch, :alias, :action, :version, :previous, :because, :created)",
        epoch=epoch,
        alias=alias,
        action=action,
        version=version,
        previous=previous,
        because=because,
        created=_now(),
    )
    live = "live" if alias == CHAMPION else "canary"
    changes = [("retired" if alias == CHAMPION else "verified", previous), (live, version)]
    for state, id in changes:
        if id is not None and (alias == CHAMPION or _named(cursor, CHAMPION) != id):
            cursor.write("UPDATE versions SET state = :state WHERE id = :id", state=state, id=id)


def _line_of_champions(cursor: Cursor) -> list[str]:
    """Who was champion, each after the other, as if what was rolled back had not been."""
    line: list[str] = []
    rows = cursor.read("SELECT action, version FROM alias_history WHERE alias = 'champion' ORDER BY epoch")
    for row in rows:
        if row["action"] == "rollback":
            line.pop()
        elif row["version"] is not None:
            line.append(row["version"])
    return line


def _version(row: Mapping[str, Any]) -> ModelVersion:
    values = {key: row[key] for key in ("id", "digest", "parent", "run", "corpus", "snapshot", "role")}
    return ModelVersion(**values, metrics=json.loads(row["metrics"]), created=datetime.fromisoformat(row["created"]))


def _now() -> str:
    return datetime.now(UTC).isoformat()
