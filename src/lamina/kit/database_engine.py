"""How the database is opened: SQLite with a rollback journal, or PostgreSQL; and what its failures mean.

Here and in ``kit.database`` alone are SQLAlchemy and sqlite3 known.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from lamina.kit.disk import make_folder, storage
from lamina.kit.errors import BusyError, ConfigError, CorruptError, LaminaError, StorageError, require

BUSY_MS = 10_000
_WRITER_LOCK = 0x6C616D696E61  # the key of PostgreSQL's advisory lock that BEGIN IMMEDIATE stands for


def parse(place: str | Path) -> URL:
    """The URL of a database: a path is a SQLite file, ``postgresql://…`` a server."""
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite+pysqlite", database=str(Path(place).absolute()))
    url = make_url(place)
    kind = url.get_backend_name()
    if kind == "sqlite" and url.database:
        return url.set(drivername="sqlite+pysqlite")
    if kind == "postgresql":
        require("psycopg", extra="postgres", why="to use a PostgreSQL database")
        return url.set(drivername="postgresql+psycopg")
    raise ConfigError(f"'{kind}' is no database that is known", hint="give a path, or postgresql://user@host/name")


def sqlite_engine(url: URL, *, writer: bool, immutable: bool = False) -> Engine:
    """An engine on a SQLite file. Its writer's transactions are BEGIN IMMEDIATE; its readers cannot write."""
    path = Path(url.database or "")
    if immutable:
        place = f"file:{path.as_posix().replace('?', '%3f').replace('#', '%23')}?mode=ro&immutable=1"
    else:
        place = str(path)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            place, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False, uri=immutable
        )

    pool = {"pool_size": 1, "max_overflow": 0} if writer else {"pool_size": 4, "max_overflow": 28}
    engine = sqlalchemy.create_engine(url, creator=connect, poolclass=sqlalchemy.QueuePool, **pool)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        for pragma in _pragmas(writer, immutable):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


def _pragmas(writer: bool, immutable: bool) -> list[str]:
    pragmas = [f"busy_timeout={BUSY_MS}", "foreign_keys=ON", "trusted_schema=OFF", "temp_store=MEMORY"]
    if immutable:
        return pragmas
    # EXTRA is FULL and an fsync of the folder after the journal is unlinked: without it a power cut could bring the
    # journal back and undo a transaction that was acknowledged.
    pragmas += ["journal_mode=DELETE", "synchronous=EXTRA"] if writer else ["query_only=ON"]
    return [*pragmas, "cache_spill=OFF"] if writer else pragmas  # no exclusive lock before the commit


def postgres_engine(url: URL, *, writer: bool) -> Engine:
    """An engine on a PostgreSQL server, with lock and statement limits; its readers cannot write."""
    options = f"-c lock_timeout={BUSY_MS} -c synchronous_commit=on -c timezone=UTC"
    if not writer:
        options += " -c default_transaction_read_only=on -c statement_timeout=60000"
    pool = {"pool_size": 1, "max_overflow": 0} if writer else {"pool_size": 4, "max_overflow": 12}
    return sqlalchemy.create_engine(
        url, pool_pre_ping=True, connect_args={"options": options, "connect_timeout": 10}, **pool
    )


def create_sqlite_file(url: URL) -> None:
    """Make the file private to its owner before SQLite opens it."""
    path = Path(url.database or "")
    with storage("open the database", path):
        make_folder(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def check_postgres(connection: Connection) -> None:
    """Refuse a server that does not keep what it acknowledged."""
    for setting in ("fsync", "full_page_writes"):
        if connection.exec_driver_sql(f"SHOW {setting}").scalar() != "on":
            raise StorageError(f"the server runs with {setting} off: it would lose data", hint=f"set {setting} = on")


def lock_writers(connection: Connection) -> None:
    """Inside a PostgreSQL transaction: wait until no other process is in one that called this."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")


@contextmanager
def meaning(place: str) -> Iterator[None]:
    """Turn the driver's failures into ours. A mistake in the SQL itself stays what it is: it is a bug."""
    try:
        yield
    except exc.ProgrammingError:
        raise
    except (exc.DBAPIError, exc.TimeoutError, sqlite3.Error) as error:
        raise _meaning(error, place) from error


def _meaning(error: Exception, place: str) -> LaminaError:
    cause: Any = getattr(error, "orig", None) or error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    number = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    state = getattr(cause, "sqlstate", None) or ""
    if number in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state in ("55P03", "40P01", "40001"):
        return BusyError(f"the database is locked by another process: {text}", where=place)
    if number in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptError(f"the database is damaged: {text}", where=place, hint="restore it from a backup")
    if number == sqlite3.SQLITE_FULL or state == "53100":
        return StorageError(f"the disk is full: {os.strerror(errno.ENOSPC)}", where=place, hint="free some space")
    return StorageError(f"the database failed: {text}", where=place)
