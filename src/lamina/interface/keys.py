"""API keys: ``lsk_<id>_<secret>``. The database holds an HMAC-SHA-256 of each under a pepper that lies beside it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lamina.interface.api.ports import SCOPES, Caller, Keys
from lamina.kit.database import Database
from lamina.kit.durable import atomic_write
from lamina.kit.errors import CorruptError, InputError, NotFoundError, RefusedError

MIGRATIONS = (
    """
    CREATE TABLE api_key (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, digest TEXT NOT NULL, created TEXT NOT NULL,
        revoked TEXT);
    """,
)
_TOKEN = re.compile(r"lsk_([0-9a-z]{12})_([0-9A-Za-z_-]{43})", re.ASCII)
_PEPPER_BYTES = 32
_REFRESH_S = 0.5  # with the like of it in the API's guard: a second


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it may be shown: never its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: str
    revoked: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    caller: Caller
    revoked: bool


def check_bind(host: str, keys: Keys) -> None:
    """Refuse to listen beyond this machine while no key exists."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not keys.in_use():
        raise RefusedError(
            f"the API would be open to everybody who reaches {host}",
            hint="make a key first: lamina keys create NAME --scope infer --scope feedback",
        )


class KeyRing:
    """The keys of a stack; ``pepper`` is a file in the state folder, made at the first use."""

    def __init__(self, database: Database, pepper: Path) -> None:
        self._database = database
        self._path = pepper
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._read_at = float("-inf")
        database.migrate("keys", MIGRATIONS)
        self._pepper = self._load_pepper()
        self.refresh()

    def create(self, name: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
        """Make a key; the token is returned this once and kept nowhere."""
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise InputError(
                f"unknown scope '{unknown[0]}'" if unknown else "a key needs a scope", hint=_known_scopes()
            )
        if not name.strip() or len(name) > 100:
            raise InputError("a key needs a name of 1 to 100 characters", hint="say who or what uses it")
        id = "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(12))
        token = f"lsk_{id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(
            id=id,
            name=name.strip(),
            scopes=tuple(s for s in SCOPES if s in scopes),
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            revoked=None,
        )
        row = {"id": id, "name": key.name, "scopes": " ".join(key.scopes), "created": key.created}
        self._database.write(
            (
                "INSERT INTO api_key VALUES (:id, :name, :scopes, :digest, :created, NULL)",
                row | {"digest": self._digest(token).hex()},
            )
        )
        self._read()
        return key, token

    def list(self) -> Sequence[ApiKey]:
        """Every key, revoked ones too, oldest first."""
        rows = self._database.read("SELECT * FROM api_key ORDER BY created, id")
        return [
            ApiKey(
                id=r["id"],
                name=r["name"],
                scopes=tuple(r["scopes"].split()),
                created=r["created"],
                revoked=r["revoked"],
            )
            for r in rows
        ]

    def revoke(self, id: str) -> None:
        """Let the key open nothing any more; running servers notice within a second."""
        if not self._database.read("SELECT id FROM api_key WHERE id = :id", id=id):
            raise NotFoundError(f"there is no key '{id}'", hint="lamina keys list")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._database.write(
            ("UPDATE api_key SET revoked = :now WHERE id = :id AND revoked IS NULL", {"now": now, "id": id})
        )
        self._read()

    def refresh(self) -> None:
        """Read what other processes changed, at most twice a second."""
        if time.monotonic() - self._read_at >= _REFRESH_S:
            with self._lock:
                if time.monotonic() - self._read_at >= _REFRESH_S:
                    self._read()

    def in_use(self) -> bool:
        """Whether a key was ever made. Revoking the last one locks the door; it does not open it."""
        return bool(self._known)

    def check(self, token: str) -> Caller | None:
        """The caller behind ``token``, in a time that does not tell whether the id is known."""
        match = _TOKEN.fullmatch(token)
        digest = self._digest(token if match else "")
        known = self._known.get(match[1]) if match else None
        same = hmac.compare_digest(digest, known.digest if known else bytes(32))
        return known.caller if known and same and not known.revoked else None

    def _digest(self, token: str) -> bytes:
        return hmac.new(self._pepper, token.encode(), hashlib.sha256).digest()

    def _read(self) -> None:
        rows = self._database.read("SELECT * FROM api_key")
        self._known = {
            r["id"]: _Known(
                bytes.fromhex(r["digest"]),
                Caller(user=r["id"], scopes=frozenset(r["scopes"].split())),
                r["revoked"] is not None,
            )
            for r in rows
        }
        self._read_at = time.monotonic()

    def _load_pepper(self) -> bytes:
        if not self._path.exists():
            atomic_write(self._path, secrets.token_bytes(_PEPPER_BYTES), mode=0o600)
        pepper = self._path.read_bytes()
        if len(pepper) != _PEPPER_BYTES:
            raise CorruptError(
                f"the pepper has {len(pepper)} bytes, not {_PEPPER_BYTES}",
                where=str(self._path),
                hint="restore it from a backup, or delete it and make new keys",
            )
        return pepper


def _known_scopes() -> str:
    return f"known: {', '.join(SCOPES)}"
