"""Keys: shown once, kept as a hash, revoked for good."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lamina.interface.keys import KeyRing
from lamina.kit.database import Database
from lamina.kit.errors import CorruptError, InputError, NotFoundError


def test_a_key_opens_what_its_scopes_say(ring: KeyRing) -> None:
    assert not ring.in_use()
    key, token = ring.create("Ada's laptop", ["feedback", "infer"])
    assert token.startswith(f"lsk_{key.id}_")
    assert ring.in_use()
    caller = ring.check(token)
    assert caller.user == key.id
    assert caller.scopes == {"infer", "feedback"}


def test_any_other_token_opens_nothing(ring: KeyRing) -> None:
    _, token = ring.create("a", ["infer"])
    other = "A" if token[-1] != "A" else "B"
    for wrong in (
        "",
        token[:-1],
        token + "x",
        token[:-1] + other,
        token.upper(),
        "lsk__",
        "lsk_" + "0" * 12 + token[16:],
    ):
        assert ring.check(wrong) is None


def test_the_secret_is_nowhere_on_disk(ring: KeyRing, tmp_path: Path) -> None:
    _, token = ring.create("a", ["infer"])
    secret = token.split("_", 2)[2].encode()
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert len(files) >= 2
    assert not any(secret in f.read_bytes() for f in files)
    assert stat.S_IMODE((tmp_path / "keys.pepper").stat().st_mode) == 0o600


def test_another_process_sees_keys_and_revocations(ring: KeyRing, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("lamina.interface.keys._REFRESH_S", 0.0)
    with Database.open(tmp_path / "lamina.db") as database:
        other = KeyRing(database, tmp_path / "keys.pepper")
        key, token = ring.create("a", ["infer"])
        other.refresh()
        assert other.check(token).user == key.id
        ring.revoke(key.id)
        other.refresh()
        assert other.check(token) is None
        assert other.in_use()
    assert ring.list()[0].revoked is not None


def test_another_pepper_knows_no_key(ring: KeyRing, database: Database, tmp_path: Path) -> None:
    _, token = ring.create("a", ["infer"])
    assert KeyRing(database, tmp_path / "other.pepper").check(token) is None


def test_what_cannot_be(ring: KeyRing, database: Database, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown scope 'root'"):
        ring.create("a", ["root"])
    with pytest.raises(InputError):
        ring.create("a", [])
    with pytest.raises(InputError):
        ring.create(" ", ["infer"])
    with pytest.raises(NotFoundError):
        ring.revoke("nothing")
    (tmp_path / "bad.pepper").write_bytes(b"short")
    with pytest.raises(CorruptError):
        KeyRing(database, tmp_path / "bad.pepper")
