"""What happens inside a transaction: statements, scripts, and the numbered migrations of each component's tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from lamina.kit.errors import StorageError

_MIGRATIONS = """CREATE TABLE IF NOT EXISTS migrations (
    component TEXT NOT NULL, number INTEGER NOT NULL, sha256 TEXT NOT NULL, applied TEXT NOT NULL,
    PRIMARY KEY (component, number))"""


class Cursor:
    """A transaction in progress; given to the function of ``Database.transact``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query."""
        return [dict(row) for row in self._connection.execute(text(sql), parameters).mappings()]

    def write(self, sql: str, **parameters: Any) -> int:
        """Run a statement; the number of rows that it changed."""
        return int(self._connection.execute(text(sql), parameters).rowcount)

    def script(self, sql: str) -> None:
        """Run statements that take no parameters, separated by semicolons (triggers included)."""
        for statement in split(sql):
            self._connection.exec_driver_sql(statement)


def split(sql: str) -> list[str]:
    """The statements of a script; a trigger's body stays whole."""
    statements, begun = [], ""
    for piece in sql.split(";"):
        begun += piece
        if sqlite3.complete_statement(begun + ";"):
            if begun.strip():
                statements.append(begun.strip())
            begun = ""
        else:
            begun += ";"
    if begun.strip(" \n\t;"):
        statements.append(begun.strip(" \n\t;"))
    return statements


def apply_migrations(cursor: Cursor, component: str, migrations: Sequence[str], place: str) -> None:
    """Run what was not run yet; ``StorageError`` where the past was edited or is ahead of us."""
    cursor.script(_MIGRATIONS)
    rows = cursor.read("SELECT number, sha256 FROM migrations WHERE component = :c ORDER BY number", c=component)
    if len(rows) > len(migrations):
        raise StorageError(
            f"'{component}' stands at version {len(rows)}, this Lamina knows {len(migrations)}",
            where=place,
            hint="a newer Lamina wrote it; use that one",
        )
    for number, migration in enumerate(migrations, start=1):
        digest = sha256(migration.encode()).hexdigest()
        if number <= len(rows):
            if rows[number - 1]["sha256"] != digest:
                raise StorageError(f"migration {number} of '{component}' was edited after it had run", where=place)
            continue
        cursor.script(migration)
        cursor.write(
            "INSERT INTO migrations VALUES (:component, :number, :digest, :now)",
            component=component,
            number=number,
            digest=digest,
            now=datetime.now(UTC).isoformat(),
        )
