from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lamina
from lamina.kit import database_engine
from lamina.kit.database import Cursor, Database
from lamina.kit.database_schema import split
from lamina.kit.errors import BusyError, ConfigError, CorruptError, NotFoundError, StorageError

SRC = str(Path(lamina.__file__).parents[1])
NOTES = "CREATE TABLE notes (id TEXT PRIMARY KEY, worker INTEGER, value TEXT)"
INSERT = "INSERT INTO notes VALUES (:id, :worker, :value)"
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)), None)


class Server:
    """A PostgreSQL server in a folder of its own, on a Unix socket only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if self._user:
            shutil.chown(folder, "postgres", "postgres")
        self._pg("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "lamina", "--no-sync")
        self.start()
        self._pg("createdb", "-h", str(folder), "-U", "lamina", "lamina")
        self.url = f"postgresql://lamina@/lamina?host={folder}"

    def _pg(self, program: str, *arguments: str) -> None:
        assert POSTGRES is not None
        command = [str(POSTGRES.with_name(program)), *arguments]
        log = self.folder / f"{program}.log"
        with log.open("ab") as out:
            subprocess.run(command, check=True, stdout=out, stderr=out, cwd="/", timeout=60, **self._user)  # type: ignore[call-overload]

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses=''"
        self._pg(
            "pg_ctl", "-D", str(self.folder / "data"), "-w", "-o", options, "-l", str(self.folder / "log"), "start"
        )

    def stop(self, mode: str) -> None:
        self._pg("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")


@pytest.fixture(scope="module")
def server():
    if POSTGRES is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        running = Server(Path(folder))
        yield running
        running.stop("immediate")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "state" / "lamina.db")
    url = request.getfixturevalue("server").url
    with Database.open(url) as fresh:
        fresh.transact(lambda cursor: cursor.script("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    return url


@pytest.fixture
def database(place):
    with Database.open(place) as opened:
        opened.migrate("notes", [NOTES])
        yield opened


def note(id: object, worker: int = 0, value: str | None = None) -> tuple[str, dict[str, object]]:
    return INSERT, {"id": str(id), "worker": worker, "value": value}


def test_what_is_written_is_read(database):
    database.write(note("a", 1, "x:y ; :z ü"), note("b"))
    database.write((INSERT, [{"id": str(n), "worker": n, "value": None} for n in range(3)]), (INSERT, []))
    assert database.read("SELECT * FROM notes WHERE id = :id", id="a") == [
        {"id": "a", "worker": 1, "value": "x:y ; :z ü"}
    ]
    assert database.read("SELECT count(*) AS n FROM notes") == [{"n": 5}]


def test_a_write_is_all_or_nothing(database):
    database.write(note("a"))
    with pytest.raises(StorageError, match=r"(?i)unique"):
        database.write(note("b"), note("a"))
    assert database.read("SELECT id FROM notes") == [{"id": "a"}]
    database.write(note("c"))


def test_a_reader_cannot_write(database):
    with pytest.raises(StorageError, match=r"(?i)read.?only"):
        database.read("DELETE FROM notes RETURNING id")


def test_eight_threads_write_and_all_is_durable_with_fewer_commits(database, place, monkeypatch):
    groups: list[int] = []
    commit = Database._commit

    def counted(self, group, results):
        groups.append(len(group))
        commit(self, group, results)

    monkeypatch.setattr(Database, "_commit", counted)

    def work(worker: int) -> None:
        for n in range(40):
            database.write(note(f"{worker}-{n}", worker))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sum(groups) == 320
    assert len(groups) < 320  # commits were shared
    with Database.open(place) as other:
        assert other.read("SELECT count(*) AS n FROM notes") == [{"n": 320}]


def test_one_bad_write_in_a_group_fails_alone(database):
    database.write(note("taken"))
    gate = threading.Event()
    blocked = threading.Thread(target=lambda: database.transact(lambda cursor: gate.wait(10)))
    blocked.start()
    time.sleep(0.05)
    outcomes: dict[str, object] = {}

    def work(id: str) -> None:
        try:
            database.write(note(id))
            outcomes[id] = "ok"
        except StorageError as error:
            outcomes[id] = error

    threads = [threading.Thread(target=work, args=(id,)) for id in ("x", "taken", "y", "z")]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    gate.set()
    for thread in [*threads, blocked]:
        thread.join()
    assert isinstance(outcomes.pop("taken"), StorageError)
    assert outcomes == {"x": "ok", "y": "ok", "z": "ok"}
    assert len(database.read("SELECT id FROM notes")) == 4


def test_transact_reads_what_it_wrote_and_returns(database):
    def function(cursor: Cursor) -> int:
        assert cursor.write(*[INSERT], id="a", worker=7, value=None) == 1
        return int(cursor.read("SELECT worker FROM notes WHERE id = :id", id="a")[0]["worker"])

    assert database.transact(function) == 7


def test_transact_that_raises_undoes_everything(database):
    def function(cursor: Cursor) -> None:
        cursor.write(INSERT, id="a", worker=0, value=None)
        raise NotFoundError("no such version")

    with pytest.raises(NotFoundError, match="no such version"):
        database.transact(function)
    assert database.read("SELECT * FROM notes") == []


def test_transactions_of_two_processes_do_not_interleave(database, place):
    """Read-modify-write from two databases at once (two writer threads, as two processes have) loses no count."""
    database.write(note("n", 0))

    def add(cursor: Cursor) -> None:
        (row,) = cursor.read("SELECT worker FROM notes WHERE id = 'n'")
        time.sleep(0.001)
        cursor.write("UPDATE notes SET worker = :n WHERE id = 'n'", n=row["worker"] + 1)

    def work(one: Database) -> None:
        for _ in range(25):
            one.transact(add)

    with Database.open(place) as other, ThreadPoolExecutor(2) as pool:
        list(pool.map(work, [database, other]))
    assert database.read("SELECT worker FROM notes") == [{"worker": 50}]


def test_a_transaction_inside_a_transaction_is_a_mistake_not_a_hang(database):
    with pytest.raises(RuntimeError, match="cursor"):
        database.transact(lambda cursor: database.write(note("a")))


def test_a_reader_does_not_wait_long(database):
    stop = threading.Event()

    def work() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            database.write(note(f"w{n}", value="x" * 2000))

    writer = threading.Thread(target=work)
    writer.start()
    waits = []
    for _ in range(100):
        before = time.monotonic()
        database.read("SELECT count(*) AS n FROM notes")
        waits.append(time.monotonic() - before)
    stop.set()
    writer.join()
    assert sorted(waits)[90] < 2.0  # seconds; a machine may stand still now and then for reasons of its own


def test_migrations_are_numbered_and_idempotent(database, place):
    second = "ALTER TABLE notes ADD COLUMN extra TEXT; CREATE INDEX by_worker ON notes (worker)"
    database.write(note("kept"))
    database.migrate("notes", [NOTES])
    database.migrate("notes", [NOTES, second])
    with Database.open(place) as other:
        other.migrate("notes", [NOTES, second])
        assert other.read("SELECT id, extra FROM notes") == [{"id": "kept", "extra": None}]
        rows = other.read("SELECT number FROM migrations WHERE component = 'notes' ORDER BY number")
        assert [row["number"] for row in rows] == [1, 2]
        with pytest.raises(StorageError, match="newer Lamina"):
            other.migrate("notes", [NOTES])
        with pytest.raises(StorageError, match="migration 2 of 'notes' was edited"):
            other.migrate("notes", [NOTES, second + " "])
        other.migrate("else", ["CREATE TABLE other (id TEXT)"])  # components are counted apart


def test_a_migration_that_fails_leaves_nothing(database):
    with pytest.raises(StorageError):
        database.migrate(
            "notes",
            [
                NOTES,
                "CREATE TABLE two (id TEXT); INSERT INTO notes VALUES ('a', 1, NULL);"
                "INSERT INTO notes VALUES ('a', 1, NULL)",
            ],
        )
    assert database.read("SELECT * FROM notes") == []
    database.migrate("notes", [NOTES, "CREATE TABLE two (id TEXT)"])


def test_two_databases_migrate_at_once(place):
    with Database.open(place) as one, Database.open(place) as two, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda d: d.migrate("notes", [NOTES]), [one, two]))
        assert one.read("SELECT count(*) AS n FROM migrations") == [{"n": 1}]


def test_after_close_it_says_so(place):
    database = Database.open(place)
    database.close()
    database.close()
    for call in (lambda: database.write(("SELECT 1", {})), lambda: database.read("SELECT 1")):
        with pytest.raises(StorageError, match="closed"):
            call()


WRITER = f"""
import sys, threading
sys.path.insert(0, {SRC!r})
from lamina.kit.database import Database
database = Database.open(sys.argv[1])
lock = threading.Lock()
def work(worker):
    n = 0
    while True:
        database.write(({INSERT!r}, {{"id": f"{{sys.argv[2]}}-{{worker}}-{{n}}", "worker": worker, "value": "x" * 99}}))
        with lock:
            sys.stdout.write(f"{{sys.argv[2]}}-{{worker}}-{{n}}\\n")
            sys.stdout.flush()
        n += 1
for worker in range(4):
    threading.Thread(target=work, args=(worker,)).start()
"""


def test_kill_9_while_writing_loses_nothing_acknowledged(database, place):
    for turn in range(5):
        process = subprocess.Popen([sys.executable, "-c", WRITER, place, str(turn)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip()]
        threading.Timer(0.05 + 0.05 * turn, process.kill).start()
        acknowledged += process.stdout.read().split("\n")[:-1]
        assert process.wait() == -signal.SIGKILL
        kept = {row["id"] for row in database.read("SELECT id FROM notes")}
        assert acknowledged[0]
        assert set(acknowledged) <= kept
    database.write(note("after"))


# SQLite alone


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lamina.db"


def test_sqlite_is_set_as_promised(file):
    with Database.open(file) as database:
        assert file.stat().st_mode & 0o777 == 0o600
        assert database.transact(lambda c: c.read("PRAGMA journal_mode")) == [{"journal_mode": "delete"}]
        assert database.transact(lambda c: c.read("PRAGMA synchronous")) == [{"synchronous": 3}]  # EXTRA
        assert database.read("PRAGMA busy_timeout") == [{"timeout": 10_000}]


def test_a_wal_database_is_brought_back_to_the_rollback_journal(file):
    import sqlite3

    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE a (b)")
    connection.close()
    with Database.open(file) as database:
        assert database.transact(lambda c: c.read("PRAGMA journal_mode")) == [{"journal_mode": "delete"}]


def test_a_file_that_is_no_database_is_refused(file):
    file.write_bytes(b"this is no database at all, whatever its name may say" * 100)
    with pytest.raises(CorruptError, match="damaged"):
        Database.open(file)


def test_an_older_state_is_copied_before_it_is_migrated(file):
    with Database.open(file) as database:
        database.migrate("notes", [NOTES])
        database.write(note("a"))
        database.migrate("notes", [NOTES, "DROP TABLE notes"])
    with Database.open(file.with_name("lamina.db.before-notes-2")) as before:
        assert before.read("SELECT id FROM notes") == [{"id": "a"}]


def test_a_lock_held_too_long_by_another_process_is_busy(file, monkeypatch):
    import sqlite3

    monkeypatch.setattr(database_engine, "BUSY_MS", 50)
    with Database.open(file) as database:
        database.migrate("notes", [NOTES])
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="locked by another process"):
            database.write(note("a"))
        other.execute("ROLLBACK")
        other.close()
        database.write(note("a"))


def test_read_only_needs_no_journal_and_refuses_writes(tmp_path):
    file = tmp_path / "index?#.db"
    with Database.open(file) as database:
        database.transact(lambda c: c.script("CREATE VIRTUAL TABLE passages USING fts5(body)"))
        database.write(("INSERT INTO passages VALUES (:b)", {"b": "call me Ishmael"}))
    before = sorted(tmp_path.iterdir())
    with Database.open(file, read_only=True) as database:
        rows = database.read("SELECT body FROM passages WHERE passages MATCH :q", q="ishmael")
        assert rows == [{"body": "call me Ishmael"}]
        with pytest.raises(StorageError, match="reading only"):
            database.write(("DELETE FROM passages", {}))
    assert sorted(tmp_path.iterdir()) == before


def test_backup_while_it_is_written(file, tmp_path):
    with Database.open(file) as database:
        database.migrate("notes", [NOTES])
        database.write((INSERT, [{"id": str(n), "worker": n, "value": "x" * 500} for n in range(500)]))
        database.backup(tmp_path / "copy.db")
        database.write(note("later"))
    with Database.open(tmp_path / "copy.db") as copy:
        assert copy.read("SELECT count(*) AS n FROM notes") == [{"n": 500}]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


FULL = f"""
import os, sys
sys.path.insert(0, {SRC!r})
from pathlib import Path
from lamina.kit.database import Database
from lamina.kit.errors import StorageError
folder = Path(sys.argv[1])
database = Database.open(folder / "lamina.db")
database.migrate("notes", [{NOTES!r}])
row = lambda n: ({INSERT!r}, {{"id": str(n), "worker": n, "value": "x" * 5000}})
if sys.argv[2] == "tmpfs":
    (folder / "filler").write_bytes(b"x" * 1_000_000)
else:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
written = 0
try:
    while True:
        database.write(row(written))
        written += 1
except StorageError as error:
    print(str(error))
assert len(database.read("SELECT id FROM notes")) == written > 10  # reading goes on
if sys.argv[2] == "tmpfs":
    (folder / "filler").unlink()
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for n in range(20):
    database.write(row(written + n))  # no restart was needed
assert len(database.read("SELECT id FROM notes")) == written + 20
assert database.read("PRAGMA integrity_check") == [{{"integrity_check": "ok"}}]
"""


def test_a_full_disk_is_an_error_and_recovers(tmp_path):
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1" tmpfs', "sh"]
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0:
        pytest.skip("a small file system can be mounted only by root")
    done = subprocess.run([*mount, str(tmp_path), sys.executable, FULL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "disk is full" in done.stdout
    assert "free some space" in done.stdout


def test_a_failing_write_is_an_error_and_recovers(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), "limit"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the database failed" in done.stdout


def test_scripts_are_split_at_statements():
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; DELETE FROM c; END"
    assert split(f"CREATE TABLE a (b TEXT DEFAULT ';'); {trigger};\n\n-- end\n")[:2] == [
        "CREATE TABLE a (b TEXT DEFAULT ';')",
        trigger,
    ]
    assert split("SELECT 1") == ["SELECT 1"]
    assert split(" ; ;") == []


def test_an_unknown_kind_of_database_is_refused():
    with pytest.raises(ConfigError, match="mysql"):
        Database.open("mysql://u@h/d")


# PostgreSQL alone


def test_a_crash_of_the_server_is_an_error_and_is_recovered_from(server):
    with Database.open(server.url) as database:
        database.transact(lambda c: c.script("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
        database.migrate("notes", [NOTES])
        kept = 0
        for turn in range(3):
            for _ in range(10):
                database.write(note(kept))
                kept += 1
            server.stop("immediate")
            with pytest.raises(StorageError):
                database.write(note(f"lost {turn}"))
            with pytest.raises(StorageError):
                database.read("SELECT 1")
            server.start()
            assert database.read("SELECT count(*) AS n FROM notes") == [{"n": kept}]


def test_a_server_that_would_lose_data_is_refused(server):
    with Database.open(server.url) as database, pytest.raises(StorageError, match="fsync off"):
        database.transact(lambda c: database_engine.check_postgres(_Off(c._connection)))


class _Off:
    """A connection on which fsync looks switched off."""

    def __init__(self, connection) -> None:
        self._connection = connection

    def exec_driver_sql(self, sql: str):
        return self._connection.exec_driver_sql("SELECT 'off'" if sql == "SHOW fsync" else sql)


def test_the_password_is_not_in_an_error():
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    with pytest.raises(StorageError) as caught:
        Database.open("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
