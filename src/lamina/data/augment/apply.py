"""Augmenting a corpus: units of training documents to children in workers, then one cut to the budget over all.

    operations = plan_augment(tables, work=folder)
    share = keep_share(characters, operations, max_share)
    for counts in workers.map("lamina.data.augment.apply:augment_unit", payloads): …
    gather([unit folders], out, characters=characters, max_share=max_share)

A child's id follows from its parent, operation, copy and seed. Which children the budget takes goes by their ids, which
are as good as random numbers: the outcome does not depend on how the documents were cut into units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.contracts.corpus import DOCUMENTS, LEDGER
from lamina.data.augment.plan import Operation, budget
from lamina.data.augment.similar import HeldOut, is_near, trigrams
from lamina.kit.identity import blake3_hex, document_id, text_hash
from lamina.kit.registry import AUGMENTERS

_SLACK = 1.5  # children made beyond the budget, since how many will fall away is not known before
_INHERITED = ("source", "url", "title", "author", "created", "collected", "license", "rights", "group_id", "position")


def child_id(parent: str, operation: str, copy: int, seed: int) -> str:
    """The id of a child, 32 hexadecimal digits."""
    return document_id(parent, f"{operation}/{copy}/{seed}")


def augment_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Children of one unit, for a worker. ``payload``:

    - ``documents``: Parquet files with ``DOCUMENTS``' columns (others stay null in children)
    - ``out``: a folder; ``children.parquet`` and ``ledger.parquet`` are written into it
    - ``operations``: ``Operation.json`` of each; ``seed``; ``keep``: from ``keep_share`` (default 1)
    - ``held_out``: a file of ``HeldOut.save`` (optional): children close to such a document are dropped

    Only rows whose split is "train" and that are no children themselves get any. Returns counts: documents, characters
    of the training documents, children, and ``dropped`` by reason.
    """
    operations = [Operation.of(values) for values in payload["operations"]]
    seed = int(payload.get("seed", 0))
    limit = f"{min(1 << 64, int(payload.get('keep', 1.0) * _SLACK * 2**64)) - 1:016x}"
    held_out = HeldOut.load(Path(payload["held_out"])) if payload.get("held_out") else None
    out = Path(payload["out"])
    out.mkdir(parents=True, exist_ok=True)
    files = [Path(path) for path in payload["documents"]]
    schema = pq.read_schema(files[0]) if files else DOCUMENTS
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with (
        pq.ParquetWriter(out / "children.parquet", schema, compression="zstd") as children,
        pq.ParquetWriter(out / "ledger.parquet", LEDGER, compression="zstd") as ledger,
    ):
        for batch in _groups(files):
            parents = _training(batch)
            counts["documents"] += parents.num_rows
            counts["characters"] += sum(len(t) for t in parents.column("text").to_pylist() if t)
            made = list(_family(parents, operations, seed, limit, held_out, dropped))
            counts["children"] += len(made)
            if made:
                rows = pa.Table.from_pylist([row for row, _ in made], schema=schema)
                children.write_table(rows)
                ledger.write_table(pa.Table.from_pylist([entry for _, entry in made], schema=LEDGER))
    return {**{key: counts[key] for key in ("documents", "characters", "children")}, "dropped": dict(dropped)}


def gather(units: Sequence[Path], out: Path, *, characters: int, max_share: float) -> dict[str, Any]:
    """Put the units' children together in ``out``/children.parquet and ledger.parquet, as many as the budget allows.

    ``characters``: of all training documents. Returns counts: children, characters, and ``over_budget``.
    """
    ids: list[str] = []
    sizes: list[int] = []
    for unit in units:
        for batch in _groups([unit / "children.parquet"], ["id", "text"]):
            ids.extend(batch.column("id").to_pylist())
            sizes.extend(len(text) for text in batch.column("text").to_pylist())
    order = np.argsort(np.array(ids, dtype=str), kind="stable") if ids else np.zeros(0, np.int64)
    total = np.cumsum(np.array(sizes, np.int64)[order])
    taken = int(np.searchsorted(total, budget(characters, max_share), side="right"))
    limit = ids[order[taken - 1]] if taken else ""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("children.parquet", "ledger.parquet"):
        _filtered([unit / name for unit in units], out / name, limit)
    kept = int(total[taken - 1]) if taken else 0
    return {"children": taken, "characters": kept, "over_budget": len(ids) - taken}


def _filtered(files: Sequence[Path], out: Path, limit: str) -> None:
    """The rows whose id is at most ``limit``."""
    schema = pq.read_schema(files[0]) if files else DOCUMENTS
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in _groups(files):
            mask = pa.array([value <= limit for value in batch.column("id").to_pylist()], pa.bool_())
            writer.write_batch(batch.filter(mask))


def _groups(files: Sequence[Path], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1024, columns=columns)


def _training(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that may have children."""
    splits, parents = batch.column("split").to_pylist(), batch.column("parent_id").to_pylist()
    texts = batch.column("text").to_pylist()
    wanted = [s == "train" and p is None and bool(t) for s, p, t in zip(splits, parents, texts, strict=True)]
    return batch.filter(pa.array(wanted, pa.bool_()))


def _family(
    parents: pa.RecordBatch,
    operations: Sequence[Operation],
    seed: int,
    limit: str,
    held_out: HeldOut | None,
    dropped: Counter[str],
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each child that is kept, as (document row, ledger row)."""
    rows = parents.to_pylist()
    siblings: list[list[tuple[str, NDArray[np.uint64] | frozenset[Any]]]] = [[] for _ in rows]
    for operation in operations:
        chosen = _chosen(rows, operation, seed, limit)
        if not chosen:
            continue
        function = AUGMENTERS.get(operation.use).function
        batch = parents.take(pa.array(chosen, pa.int64()))
        own_seed = int(blake3_hex("operation", str(seed), operation.label)[:15], 16)
        made = function(batch, copies=operation.copies, seed=own_seed, **_tuples(operation.parameters))
        near_held_out = held_out.near(made.column("text").to_pylist()) if held_out and made.num_rows else None
        for number, child in enumerate(made.to_pylist()):
            place = chosen[child["parent"]]
            row, text = rows[place], child["text"]
            name = child_id(row["id"], operation.label, child["copy"], seed)
            if name[:16] > limit:
                continue
            if near_held_out is not None and near_held_out[number]:
                dropped["close to a held-out document"] += 1
                continue
            reason = _too_near(text, row["text"], siblings[place])
            if reason:
                dropped[reason] += 1
                continue
            yield _document(row, operation, child, name, seed), _entry(row, operation, child, name, seed)


def _too_near(text: str, parent: str, siblings: list[Any]) -> str | None:
    if not siblings:
        siblings.append((parent, trigrams(parent)))
    own = trigrams(text)
    for number, (other, grams) in enumerate(siblings):
        if text == other or is_near(own, grams):
            return "as its parent" if number == 0 else "as another child"
    siblings.append((text, own))
    return None


def _chosen(rows: Sequence[Mapping[str, Any]], operation: Operation, seed: int, limit: str) -> list[int]:
    """The rows that an operation is meant for and of whose children at least one may fit the budget."""
    found: list[int] = []
    for number, row in enumerate(rows):
        language = (row["language"] or "").replace("_", "-").split("-")[0]
        if operation.sources and row["source"] not in operation.sources:
            continue
        if operation.languages and language not in operation.languages:
            continue
        if operation.share < 1:
            draw = int(blake3_hex("share", str(seed), operation.label, row["id"])[:13], 16) / 16**13
            if draw >= operation.share:
                continue
        ids = (child_id(row["id"], operation.label, copy, seed) for copy in range(operation.copies))
        if any(name[:16] <= limit for name in ids):
            found.append(number)
    return found


def _tuples(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}


def _document(
    row: Mapping[str, Any], operation: Operation, child: Mapping[str, Any], name: str, seed: int
) -> dict[str, Any]:
    told = {"operation": operation.label, "parameters": operation.parameters, "seed": seed, "copy": child["copy"]}
    return {
        **{key: row[key] for key in _INHERITED},
        "id": name,
        "text": child["text"],
        "text_hash": text_hash(child["text"]),
        "language": row["language"],
        "parent_id": row["id"],
        "split": row["split"],
        "meta": orjson.dumps({"augmented": told}).decode(),
    }


def _entry(
    row: Mapping[str, Any], operation: Operation, child: Mapping[str, Any], name: str, seed: int
) -> dict[str, Any]:
    detail = {"parent": row["id"], "copy": child["copy"], "seed": seed}
    return {
        "id": name,
        "source": row["source"],
        "step": f"augment {operation.label}",
        "action": "augment",
        "reason": operation.use,
        "detail": orjson.dumps({**detail, "done": orjson.Fragment(child["detail"])}).decode(),
    }
