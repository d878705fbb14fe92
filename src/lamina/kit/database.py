"""The database: SQLite beside the state, or PostgreSQL; plain parameterised SQL, durable when a call returns.

    database = Database.open(state / "lamina.db")
    database.migrate("feedback", ["CREATE TABLE feedback (id TEXT PRIMARY KEY, value TEXT NOT NULL)"])
    database.write(("INSERT INTO feedback VALUES (:id, :value)", {"id": "f1", "value": "true"}))
    rows = database.read("SELECT value FROM feedback WHERE id = :id", id="f1")

One thread writes. Callers that wait at the same time share one commit (group commit); a statement that fails fails
alone. SQL is kept portable: named parameters, no syntax that only one of the two databases knows.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import exc, text
from sqlalchemy.engine import URL, Connection, Engine

from lamina.kit.database_engine import (
    check_postgres,
    create_sqlite_file,
    lock_writers,
    meaning,
    parse,
    postgres_engine,
    sqlite_engine,
)
from lamina.kit.database_schema import Cursor, apply_migrations
from lamina.kit.disk import remove, sync_folder, temporary
from lamina.kit.errors import CorruptError, StorageError

__all__ = ["Cursor", "Database"]

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Statement = tuple[str, Parameters]
_MAX_GROUP = 256


@dataclass(frozen=True, slots=True)
class _Job:
    """What a caller waits for: statements (which may share a commit) or a function (which has its own)."""

    statements: tuple[Statement, ...]
    function: Callable[[Cursor], Any] | None
    outcome: Future[Any]


class Database:
    """An open database. Every method may be called from any thread; none belongs on an event loop."""

    def __init__(self, url: URL, *, read_only: bool = False) -> None:
        self.place = url.render_as_string(hide_password=True) if url.host else str(url.database)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._url = url
        self._closed = False
        self._door = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = self._engine(writer=False, immutable=read_only)
        self._writer = None if read_only else self._engine(writer=True)
        self._thread = threading.Thread(target=self._work, name="database writer", daemon=True)
        if not read_only:
            self._thread.start()

    @classmethod
    def open(cls, place: str | Path, *, read_only: bool = False) -> Database:
        """Open (and make, where it is missing) the SQLite file at a path, or the server of a ``postgresql://`` URL.

        ``read_only`` is for files that never change again, such as an index in a published folder.
        """
        url = parse(place)
        if url.get_backend_name() == "sqlite" and not read_only:
            create_sqlite_file(url)
        database = cls(url, read_only=read_only)
        try:
            database._check()
        except BaseException:
            database.close()
            raise
        return database

    def _engine(self, *, writer: bool, immutable: bool = False) -> Engine:
        if self.is_sqlite:
            return sqlite_engine(self._url, writer=writer, immutable=immutable)
        return postgres_engine(self._url, writer=writer)

    def _check(self) -> None:
        with meaning(self.place), (self._writer or self._readers).connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
            else:
                check_postgres(connection)

    def read(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query, as of one moment. Raises ``StorageError``, ``CorruptError``, ``BusyError``."""
        self._refuse_if_closed()
        with meaning(self.place), self._readers.connect() as connection:
            return Cursor(connection).read(sql, **parameters)

    def write(self, *statements: Statement) -> None:
        """Run ``(sql, parameters)`` pairs in one transaction, durable on return; a list of mappings runs as many rows.

        Raises ``StorageError`` (and nothing of the transaction stands).
        """
        self._submit(_Job(statements, None, Future()))

    def transact(self, function: Callable[[Cursor], T]) -> T:
        """Run ``function`` in a transaction that no other writer (thread or process) shares; durable on return.

        What it raises undoes the transaction and is raised here.
        """
        result: T = self._submit(_Job((), function, Future()))
        return result

    def migrate(self, component: str, migrations: Sequence[str]) -> None:
        """Bring ``component``'s tables up to date: migration n is run once, in order, all or nothing.

        A SQLite file that holds data already is first copied to ``<name>.before-<component>-<n>``. Raises
        ``StorageError`` where an applied migration was edited, or a newer Lamina migrated further.
        """
        if self.is_sqlite:
            done = self._applied(component)
            if 0 < done < len(migrations):
                self.backup(Path(f"{self._url.database}.before-{component}-{done + 1}"))
        self.transact(lambda cursor: apply_migrations(cursor, component, migrations, self.place))

    def _applied(self, component: str) -> int:
        if not self.read("SELECT name FROM sqlite_master WHERE name = 'migrations'"):
            return 0
        rows = self.read("SELECT count(*) AS n FROM migrations WHERE component = :component", component=component)
        return int(rows[0]["n"])

    def backup(self, path: Path) -> None:
        """Copy a SQLite database, while it is in use, to ``path``; the copy is checked before it gets its name."""
        if not self.is_sqlite:
            raise StorageError("only SQLite files are copied here", where=self.place, hint="use pg_dump")
        temp = temporary(path, "tmp")
        try:
            with meaning(self.place):
                source, target = sqlite3.connect(str(self._url.database)), sqlite3.connect(temp)
                try:
                    source.backup(target)
                    if target.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                        raise CorruptError("the copy is damaged", where=str(temp))
                finally:
                    target.close()
                    source.close()
            temp.chmod(0o600)
            temp.replace(path)
            sync_folder(path.parent)
        finally:
            remove(temp)

    def close(self) -> None:
        """Finish what waits, then let go of the database."""
        with self._door:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._readers.dispose()
        if self._writer is not None:
            self._writer.dispose()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StorageError("the database is closed", where=self.place)

    def _submit(self, job: _Job) -> Any:
        if self._writer is None:
            raise StorageError("the database was opened for reading only", where=self.place)
        if threading.current_thread() is self._thread:
            raise RuntimeError("a transaction cannot begin another one: use the cursor that it was given")
        with self._door:
            self._refuse_if_closed()
            self._jobs.put(job)
        return job.outcome.result()

    def _work(self) -> None:
        """The writer's thread: everything that waits, up to the next function, shares one commit."""
        held: _Job | None = None
        ended = False
        while not ended:
            job = held or self._jobs.get()
            held = None
            if job is None:
                break
            group = [job]
            while job.function is None and len(group) < _MAX_GROUP:
                try:
                    following = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if following is None:  # nothing is put behind the end
                    ended = True
                    break
                if following.function is not None:
                    held = following
                    break
                group.append(following)
            self._settle(group)

    def _settle(self, group: list[_Job]) -> None:
        """Run the jobs in one transaction; where a statement fails, each in its own, so that one fails alone."""
        results: list[Any] = []
        try:
            self._commit(group, results)
        except BaseException as error:
            if len(group) == 1 or len(results) == len(group):  # alone, or the commit itself failed
                for job in group:
                    job.outcome.set_exception(error)
            else:
                for job in group:
                    self._settle([job])
            return
        for job, result in zip(group, results, strict=True):
            job.outcome.set_result(result)

    def _commit(self, group: list[_Job], results: list[Any]) -> None:
        assert self._writer is not None
        with meaning(self.place), self._writer.connect() as connection:
            try:
                with connection.begin():
                    for job in group:
                        results.append(_run(job, connection))
            except (exc.OperationalError, exc.InternalError, exc.InterfaceError):
                connection.invalidate()  # a failed disk or server: begin with a new connection
                raise


def _run(job: _Job, connection: Connection) -> Any:
    if job.function is not None:
        lock_writers(connection)
        return job.function(Cursor(connection))
    for sql, parameters in job.statements:
        if parameters or isinstance(parameters, Mapping):  # an empty list is no row at all
            connection.execute(text(sql), parameters)
    return None
