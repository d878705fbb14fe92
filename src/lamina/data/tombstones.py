"""What was forgotten and stays so: hashed keys of documents, in a log that only grows, and who resembles them.

    tombstones.jsonl         a line for each removal, and one when it is done; each names the sha256 of the line before
    tombstones/key           32 random bytes that every hash is made with: the log alone lets nobody test a guess
    tombstones/<id>.parquet  hashes of the five-word sequences of the texts, so that near copies are known again

A document is forgotten when its id, address, author or source is (by keyed blake3), or when its text has a Jaccard
similarity with a forgotten text that reaches the removal's threshold; that is counted, not estimated.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from numpy.typing import NDArray

from lamina.data.duplicates.likeness import Likeness, shingles
from lamina.data.values import canonical_url
from lamina.kit.durable import atomic_write, failpoint, sha256_file
from lamina.kit.errors import CorruptError

FILE = "tombstones.jsonl"
FOLDER = "tombstones"
KINDS = ("id", "url", "author", "source")
THRESHOLD = 0.8
_FORMAT = 1
_ORIGIN = "0" * 64  # what the first line names as the line before it
Keys = Mapping[str, Sequence[str]]


class Secret:
    """The key of a stack's tombstones."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        draw = blake3(b"five-word sequences", key=raw).digest(16)
        self.mask = (np.uint64(int.from_bytes(draw[:8], "little") | 1), np.uint64(int.from_bytes(draw[8:], "little")))

    def names(self, kind: str, value: str) -> str:
        """32 hexadecimal digits that stand for a value."""
        return blake3(f"{kind}\0{_plain(kind, value)}".encode("utf-8", "surrogatepass"), key=self._raw).hexdigest(16)

    def sign(self, data: bytes) -> str:
        """HMAC-SHA256 of ``data`` under a key derived from this one."""
        return hmac.new(blake3(b"signatures of removals", key=self._raw).digest(), data, hashlib.sha256).hexdigest()


def _plain(kind: str, value: str) -> str:
    """What counts of a value: a page's address without scheme and tracking, a name without case and extra space."""
    if kind == "url":
        address = canonical_url(value)
        return address.partition("://")[2] or address
    return " ".join(value.split()).casefold() if kind == "author" else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One removal as the log has it; ``keys`` are hashed."""

    id: str
    when: str
    reason: str
    threshold: float
    keys: Keys
    texts: int  # whose near copies are forgotten too
    sets: str | None  # sha256 of their shingles
    before: str | None  # digest of the removals before it
    line: str = ""  # sha256 of its line
    done: Mapping[str, Any] | None = None  # what was done, once it was


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be forgotten, before it is decided: plain values and texts, in memory only."""

    keys: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    texts: list[str] = field(default_factory=list)
    threshold: float = THRESHOLD


class Tombstones:
    """The tombstones of the state folder ``state``. Raises ``CorruptError`` where the log was changed by hand."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.removals = _read(state / FILE)

    @property
    def digest(self) -> str | None:
        """A name for all that is forgotten; None where nothing is."""
        return self.removals[-1].line if self.removals else None

    @property
    def pending(self) -> tuple[Removal, ...]:
        """Removals that were decided and not carried through."""
        return tuple(removal for removal in self.removals if removal.done is None)

    def secret(self) -> Secret:
        """The key; made here where nothing was forgotten yet."""
        place = self.state / FOLDER / "key"
        if not place.exists():
            if self.removals:
                raise CorruptError("the key of the tombstones is missing", where=str(place), hint="restore a backup")
            atomic_write(place, secrets.token_bytes(32))
        return Secret(place.read_bytes())

    def add(self, draft: Draft, *, id: str, reason: str) -> Removal:
        """Decide a removal; it is durable when this returns. Who calls holds the lock of removals."""
        secret = self.secret()
        sets = shingles(draft.texts, secret.mask)
        place = self.state / FOLDER / f"{id}.parquet"
        if sets:
            sink = pa.BufferOutputStream()
            grams = pa.array(sets, pa.list_(pa.uint32()))
            pq.write_table(pa.table({"grams": grams}), sink, compression="zstd", use_dictionary=False)
            atomic_write(place, sink.getvalue())
        failpoint("forget.decide")
        removal = Removal(
            id=id,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            reason=reason,
            threshold=draft.threshold,
            keys={kind: sorted({secret.names(kind, v) for v in values}) for kind, values in draft.keys.items()},
            texts=len(sets),
            sets=sha256_file(place) if sets else None,
            before=self.digest,
        )
        told = {k: v for k, v in asdict(removal).items() if k not in ("line", "done")}
        self._append({"format": _FORMAT, "kind": "removal", **told})
        return self.removals[-1]

    def finish(self, removal: Removal, facts: Mapping[str, Any]) -> None:
        """Write down that a removal was carried through."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        self._append({"format": _FORMAT, "kind": "done", "id": removal.id, "when": when, **facts})

    def matcher(self) -> Matcher:
        """Who is forgotten."""
        sets = [(self._sets(removal), removal.threshold) for removal in self.removals]
        return Matcher(self.secret(), [removal.keys for removal in self.removals], sets)

    def _append(self, row: Mapping[str, Any]) -> None:
        """The log with a line more, whole or not at all."""
        place = self.state / FILE
        old = place.read_bytes() if place.exists() else b""
        before = hashlib.sha256(old.splitlines()[-1]).hexdigest() if old else _ORIGIN
        atomic_write(place, old + orjson.dumps({**row, "previous": before}) + b"\n")
        self.removals = _read(place)

    def _sets(self, removal: Removal) -> list[NDArray[np.uint32]]:
        if removal.sets is None:
            return []
        place = self.state / FOLDER / f"{removal.id}.parquet"
        if not place.is_file() or sha256_file(place) != removal.sets:
            raise CorruptError("is missing or was changed", where=str(place), hint="restore it from a backup")
        column = pq.read_table(place).column("grams").combine_chunks()
        return [np.asarray(row.values.to_numpy(), np.uint32) for row in column]


def _read(place: Path) -> tuple[Removal, ...]:
    found: dict[str, Removal] = {}
    before = _ORIGIN
    lines = place.read_bytes().splitlines() if place.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = orjson.loads(line)
            if row.pop("previous") != before or row.pop("format") != _FORMAT:
                raise ValueError
            kind, id = row.pop("kind"), row["id"]
            if kind == "removal":
                found[id] = Removal(**row, line=hashlib.sha256(line).hexdigest())
            else:
                standing = {name: getattr(found[id], name) for name in Removal.__dataclass_fields__}
                found[id] = Removal(**standing | {"done": row})
        except (ValueError, KeyError, TypeError) as error:
            hint = "restore it from a backup: what was forgotten would come back"
            raise CorruptError(
                "was changed by hand, or is of a newer Lamina", where=f"{place}:{number}", hint=hint
            ) from (error)
        before = hashlib.sha256(line).hexdigest()
    return tuple(found.values())


class Matcher:
    """Says of documents whether they are forgotten."""

    def __init__(
        self, secret: Secret, keys: Sequence[Keys], sets: Sequence[tuple[Sequence[NDArray[np.uint32]], float]]
    ) -> None:
        self._secret = secret
        self._keys = {kind: {name for one in keys for name in one.get(kind, ())} for kind in KINDS}
        every = [grams for some, _ in sets for grams in some]
        limits = [limit for some, limit in sets for _ in some]
        self._likeness = Likeness(every, limits, secret.mask)

    def named(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """(N,): the documents whose id, address, author or source is forgotten, or that were made of such a one."""
        hit = np.zeros(batch.num_rows, np.bool_)
        for kind, column in (*((kind, kind) for kind in KINDS), ("id", "parent_id")):
            if self._keys[kind] and column in batch.schema.names:
                coded = batch.column(column).cast(pa.string()).dictionary_encode()
                table = np.array([self._has(kind, value) for value in coded.dictionary.to_pylist()] or [False])
                places = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
                hit |= table[places] & coded.is_valid().to_numpy(zero_copy_only=False)
        if self._keys["author"] and "meta" in batch.schema.names:
            hit |= np.array([self._wrote(meta) for meta in batch.column("meta").to_pylist()], np.bool_)
        return hit

    def alike(self, texts: pa.Array, *, begun: bool = False) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """(N,), (N,): the texts that resemble a forgotten one, and how much (Jaccard).

        ``begun``: texts that may be only the beginning of what was written; the share of them that one forgotten text
        has counts then.
        """
        return self._likeness.of(texts, begun=begun)

    def has_address(self, url: str) -> bool:
        """Whether an address is forgotten."""
        return bool(self._keys["url"]) and self._has("url", url)

    def _has(self, kind: str, value: str) -> bool:
        wanted = self._keys[kind]
        if self._secret.names(kind, value) in wanted:
            return True
        # A chapter ("book.epub#3") is forgotten with its book.
        return kind == "url" and "#" in value and self._secret.names(kind, value.partition("#")[0]) in wanted

    def _wrote(self, meta: str | None) -> bool:
        """Whether a forgotten author is among the people of a thread."""
        if not meta or '"authors"' not in meta:
            return False
        try:
            people = orjson.loads(meta).get("authors")
        except (orjson.JSONDecodeError, AttributeError):
            return False
        return isinstance(people, list) and any(isinstance(p, str) and self._has("author", p) for p in people)


@lru_cache(maxsize=2)
def _matcher(state: str, digest: str) -> Matcher:
    return Tombstones(Path(state)).matcher()


def matcher_of(state: str, digest: str) -> Matcher:
    """The matcher of a state folder, kept from call to call; ``digest`` as of its ``Tombstones``."""
    return _matcher(os.fspath(state), digest)
