"""Removals that were carried through: signed manifests, and the models that still know what was forgotten.

``removals/<id>.json`` says what went, when and why, and the hashes of the artefacts before and after; it names nobody.
``sha256`` is that of the rest of the file (canonical JSON), ``signature`` its HMAC under the key of the tombstones.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from lamina import __version__
from lamina.contracts.lineage import ModelVersion
from lamina.data.tombstones import Tombstones
from lamina.kit.durable import atomic_write, canonical
from lamina.kit.errors import CorruptError, NotFoundError
from lamina.recipes.stack import Stack

FOLDER = "removals"
_FORMAT = 1


def write_manifest(stack: Stack, tombstones: Tombstones, told: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of the pending removals, signed."""
    pending = tombstones.pending
    body = {
        "format": _FORMAT,
        "id": pending[-1].id,
        "stack": stack.name,
        "lamina": __version__,
        "removals": [
            {"id": r.id, "decided": r.when, "reason": r.reason, "named_by": {k: len(v) for k, v in r.keys.items() if v}}
            for r in pending
        ],
        "done": datetime.now(UTC).isoformat(timespec="seconds"),
        "tombstones": tombstones.digest,
        **told,
    }
    data = canonical(body)
    signed = body | {"sha256": hashlib.sha256(data).hexdigest(), "signature": tombstones.secret().sign(data)}
    place = stack.state / FOLDER / f"{body['id']}.json"
    atomic_write(place, orjson.dumps(signed, option=orjson.OPT_INDENT_2))
    return signed


def read_manifest(stack: Stack, id: str) -> dict[str, Any]:
    """The manifest of a removal. Raises ``NotFoundError``, and ``CorruptError`` where it was changed."""
    place = stack.state / FOLDER / f"{id}.json"
    try:
        manifest: dict[str, Any] = orjson.loads(place.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no removal '{id}'", where=str(place.parent)) from error
    except orjson.JSONDecodeError as error:
        raise CorruptError("is damaged", where=str(place)) from error
    data = canonical({k: v for k, v in manifest.items() if k not in ("sha256", "signature")})
    signature = Tombstones(stack.state).secret().sign(data)
    if manifest.get("sha256") != hashlib.sha256(data).hexdigest() or not hmac.compare_digest(
        str(manifest.get("signature")), signature
    ):
        raise CorruptError("does not have the signature that it was written with", where=str(place))
    return manifest


def removals(stack: Stack) -> list[dict[str, Any]]:
    """Every removal: id, when, reason, whether it was carried through, and its manifest."""
    found = []
    for removal in Tombstones(stack.state).removals:
        row: dict[str, Any] = {"id": removal.id, "when": removal.when, "reason": removal.reason}
        if removal.done is None:
            found.append(row | {"state": "pending"})
            continue
        found.append(row | {"state": "done", "manifest": read_manifest(stack, removal.done["of"])})
    return found


def removals_in_words(stack: Stack, *, only: str | None = None, as_json: bool = False) -> Any:
    """All removals, or one, for a terminal or a machine."""
    rows = [row for row in removals(stack) if only is None or row["id"] == only]
    if as_json:
        return rows
    lines: list[str] = []
    for row in rows:
        lines.append(f"{row['id']}  {row['when']}  {row['state']}: {row['reason']}")
        for facts in row.get("manifest", {}).get("corpora", []):
            count = sum(facts["documents"].values())
            files = facts["files"]
            lines.append(
                f"  corpus {facts['old'][:12]} -> {(facts['new'] or 'deleted')[:12]}: {count:,} documents less,"
                f" {len(files['rewritten'])} files written anew, {len(files['reused'])} as they were"
            )
        lines += _stale_words(row.get("manifest", {}))
    if only is not None:
        lines += [
            f"signed: {Path(stack.state / FOLDER / only).name}.json in {stack.state / FOLDER}",
            "the sources themselves were not touched: builds skip what was forgotten",
            "a server that runs must be started anew to let go of the old passages",
        ]
    return "\n".join(lines or ["nothing was forgotten"])


def _stale_words(manifest: Mapping[str, Any]) -> list[str]:
    names = [*manifest.get("versions", []), *(f"run {run[:12]}" for run in manifest.get("runs", []))]
    return [f"  learned from them: {', '.join(names)}; lamina up trains anew without them"] if names else []


def models_of(tombstones: Tombstones, corpora: set[str], versions: Sequence[ModelVersion]) -> dict[str, list[str]]:
    """Those of ``versions`` (and their runs) that learned from ``corpora``, or from what these were derived from."""
    names = set(corpora)
    before: dict[str, set[str]] = {}
    for removal in tombstones.removals:
        for old, new in (removal.done or {}).get("corpora", {}).items():
            before.setdefault(str(new), set()).add(old)
    while more := {old for name in names for old in before.get(name, ())} - names:
        names |= more
    learned = [version for version in versions if version.corpus in names and version.role != "base"]
    return {"versions": [v.id for v in learned], "runs": sorted({v.run for v in learned if v.run})}


def stale_versions(stack: Stack) -> dict[str, list[str]]:
    """Versions that learned from what was forgotten since: id to the removals."""
    found: dict[str, list[str]] = {}
    for removal in Tombstones(stack.state).removals:
        for version in (removal.done or {}).get("versions", []):
            found.setdefault(version, []).append(removal.id)
    return found
