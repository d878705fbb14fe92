from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.contracts.lineage import Receipt
from lamina.deployment import blobs
from lamina.deployment.registry import ModelRegistry, folder_digest
from lamina.kit.database import Database
from lamina.kit.durable import digest_folder, publish
from lamina.kit.errors import CorruptError, InputError, NotFoundError


def write_model(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(text.encode() * 1000)
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture
def database(tmp_path):
    with Database.open(tmp_path / "lamina.db") as database:
        yield database


@pytest.fixture
def registry(database, tmp_path) -> ModelRegistry:
    return ModelRegistry(database, tmp_path / "models")


def add(registry: ModelRegistry, tmp_path: Path, name: str, **facts) -> str:
    return registry.add(write_model(tmp_path / name, name), role=facts.pop("role", "documents"), **facts).id


def test_a_version_keeps_its_files_and_facts(registry, tmp_path) -> None:
    folder = write_model(tmp_path / "a", "a")
    version = registry.add(
        folder, role="documents", parent="base", run="r1", corpus="c1", metrics={"bits_per_byte": 1.25}, seal={"x": 1}
    )
    assert (version.id, version.parent, version.run, version.corpus) == ("v1", "base", "r1", "c1")
    assert version.metrics == {"bits_per_byte": 1.25}
    assert registry.seal("v1") == {"x": 1}
    kept = registry.folder("v1")
    assert {p.name for p in kept.iterdir()} - {"manifest.json"} == {"config.json", "model.safetensors", "empty"}
    assert (kept / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert version.digest == folder_digest(folder) == digest_folder(kept)
    (folder / "model.safetensors").write_bytes(b"changed later")
    assert registry.folder("v1") == kept


def test_digest_is_that_of_the_published_folder(tmp_path) -> None:
    with publish(tmp_path / "published") as staging:
        write_model(staging, "x")
    assert folder_digest(tmp_path / "published") == digest_folder(tmp_path / "published")


def test_the_same_files_are_the_same_version(registry, tmp_path) -> None:
    first = add(registry, tmp_path, "a")
    assert registry.add(tmp_path / "a", role="documents").id == first
    assert add(registry, tmp_path, "b") == "v2"
    assert [v.id for v in registry.versions()] == ["v1", "v2"]


def test_names(registry, tmp_path) -> None:
    with pytest.raises(NotFoundError):
        registry.resolve("")
    for name in "abc":
        add(registry, tmp_path, name)
    registry.promote("v1", because="first")
    registry.set_alias("challenger", "v2")
    assert registry.aliases() == {"champion": "v1", "challenger": "v2"}
    assert registry.resolve("").id == registry.resolve("champion").id == "v1"
    epoch = registry.epoch()
    registry.promote("v1", because="again")
    assert registry.epoch() == epoch
    registry.promote("challenger", because="better")
    assert registry.aliases() == {"champion": "v2"}
    assert registry.epoch() > epoch
    registry.promote("v3", because="better still")
    assert registry.rollback(because="worse") == "v2"
    assert registry.rollback(because="worse") == "v1"
    with pytest.raises(NotFoundError):
        registry.rollback(because="worse")
    assert registry.resolve("").id == "v1"
    registry.promote("v3", because="after all")
    assert registry.rollback(because="no", expected="v3") == "v1"
    assert registry.rollback(because="no", expected="v3") == "v1"
    assert [h["action"] for h in registry.history() if h["alias"] == "champion"] == [
        "promote", "promote", "promote", "rollback", "rollback", "promote", "rollback",
    ]  # fmt: skip
    with pytest.raises(NotFoundError, match="v1, v2, v3"):
        registry.resolve("v9")
    with pytest.raises(InputError):
        registry.set_alias("best", "v1")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.one_of(st.integers(1, 4), st.just(0)), max_size=12))
def test_rollback_undoes_promotions_in_order(moves, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("r")
    with Database.open(folder / "db") as database:
        registry = ModelRegistry(database, folder / "models")
        for name in "abcd":
            add(registry, folder, name)
        line: list[str] = []
        for move in moves:
            if move:
                registry.promote(f"v{move}", because="")
                if not line or line[-1] != f"v{move}":
                    line.append(f"v{move}")
            elif len(line) > 1:
                line.pop()
                assert registry.rollback(because="") == line[-1]
            else:
                with pytest.raises(NotFoundError):
                    registry.rollback(because="")
            assert registry.aliases().get("champion") == (line[-1] if line else None)
        epochs = [h["epoch"] for h in registry.history()]
        assert epochs == list(range(1, len(epochs) + 1))


@pytest.mark.parametrize("place", ["blob", "view", "missing", "short"])
def test_wrong_bytes_are_never_handed_out(place, registry, tmp_path) -> None:
    add(registry, tmp_path, "a")
    view = registry.folder("v1") / "model.safetensors"
    blob = next(p for p in (tmp_path / "models" / "blobs").rglob("*") if p.is_file() and p.samefile(view))
    data = bytearray(view.read_bytes())
    data[500] ^= 1
    if place == "view":
        view.unlink()
        view.write_bytes(data)
    elif place == "missing":
        blob.unlink()
    else:
        blob.write_bytes(data if place == "blob" else data[:-1])
    with pytest.raises(CorruptError, match=r"model\.safetensors"):
        registry.folder("v1")


def test_looking_ahead_reads_once_for_the_next_folder_alone(registry, tmp_path, monkeypatch) -> None:
    version = add(registry, tmp_path, "one")
    registry.look_ahead("")  # there is none: nothing is to be read
    read: list[str] = []
    whole = blobs.sha256_file
    monkeypatch.setattr(
        blobs, "sha256_file", lambda path: (read.append(threading.current_thread().name), whole(path))[1]
    )
    registry.look_ahead(version)
    registry.folder(version)
    assert len(read) == 3
    assert all(name.startswith("blobs") for name in read)
    registry.folder(version)
    assert len(read) == 6


def test_wrong_bytes_that_were_seen_ahead_are_never_handed_out(registry, tmp_path) -> None:
    version = add(registry, tmp_path, "one")
    folder = registry.folder(version)
    file = (folder / "model.safetensors").resolve()
    file.chmod(0o600)
    file.write_bytes(b"x" * file.stat().st_size)
    registry.look_ahead(version)
    for _ in range(2):
        with pytest.raises(CorruptError, match=r"model\.safetensors"):
            registry.folder(version)


def test_bytes_that_change_after_they_were_seen_ahead_are_checked_again(registry, tmp_path) -> None:
    version, other = add(registry, tmp_path, "one"), add(registry, tmp_path, "two")
    file = (registry.folder(version) / "model.safetensors").resolve()
    registry.look_ahead(version)
    registry.folder(other)  # another one after all: what was seen is of no use any more
    file.chmod(0o600)
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(CorruptError, match=r"model\.safetensors"):
        registry.folder(version)


def test_a_view_that_was_removed_comes_back(registry, tmp_path) -> None:
    add(registry, tmp_path, "a")
    view = registry.folder("v1")
    (view / "config.json").unlink()
    assert registry.folder("v1") == view
    assert (view / "config.json").read_text() == "{}"


def test_receipts(registry) -> None:
    receipt = Receipt(
        id="receipt-1",
        champion="v1",
        challenger="v2",
        verdict="inconclusive",
        reasons=("7 labels are missing",),
        results={"low": -0.1},
        snapshot="s1",
        decided_by="gate",
        created=datetime.now(UTC),
    )
    registry.add_receipt(receipt)
    registry.add_receipt(receipt)
    assert list(registry.receipts()) == [receipt]


def test_folders_that_are_no_model_are_refused(registry, tmp_path) -> None:
    with pytest.raises(NotFoundError):
        registry.add(tmp_path / "nothing", role="base")
    with pytest.raises(InputError):
        registry.add(write_model(tmp_path / "a", "a"), role="other")


_CHILD = """
import sys
from pathlib import Path
from lamina.deployment.registry import ModelRegistry
from lamina.kit.database import Database
root = Path(sys.argv[1])
registry = ModelRegistry(Database.open(root / "lamina.db"), root / "models")
print("ready", flush=True)
version = registry.add(root / "b", role="documents")
registry.folder(version.id)
registry.promote(version.id, because="child")
"""


@pytest.mark.parametrize("point", ["atomic_write.write", "atomic_write.rename", "publish.sync_file", "publish.rename"])
def test_killed_anywhere_it_is_the_old_state_and_can_be_done_again(point, registry, database, tmp_path) -> None:
    add(registry, tmp_path, "a")
    registry.promote("v1", because="first")
    write_model(tmp_path / "b", "b")
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        env=os.environ | {"LAMINA_FAILPOINT": f"{point}:kill:1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert registry.resolve("").id == "v1"
    registry.folder("v1")
    version = registry.add(tmp_path / "b", role="documents")
    assert (registry.folder(version.id) / "config.json").is_file()
    registry.promote(version.id, because="again")
    assert registry.resolve("").id == "v2"
