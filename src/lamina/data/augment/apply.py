"""Children of documents, with what they carry: in workers, a unit of a corpus at a time.

A child's id follows from its parent, operation, copy and seed. Which children the budget takes goes by their ids, which
are as good as random numbers: the outcome does not depend on how the documents were cut into units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.contracts.corpus import LEDGER
from lamina.data.augment.children import refused_in
from lamina.data.augment.plan import Operation
from lamina.data.augment.similar import HeldOut, is_near, trigrams
from lamina.data.parts import PartWriter, ledger_writer
from lamina.data.units import read_unit
from lamina.kit.durable import is_published, publish
from lamina.kit.identity import blake3_hex, document_id, text_hash
from lamina.kit.registry import AUGMENTERS

#: The reasons for which a child is left out, whatever made it.
PARENT_CLOSE = "its parent is close to a held-out document"
CHILD_CLOSE = "close to a held-out document"
AS_PARENT, AS_CHILD = "as its parent", "as another child"
_SLACK = 1.5  # children made beyond the budget, since how many will fall away is not known before
_INHERITED = ("source", "url", "title", "author", "created", "collected", "license", "rights", "group_id", "position")
_LAST = "f" * 16


class Child(NamedTuple):
    """A child as it was made: ``row`` is its parent's number in the batch."""

    row: int
    operation: Operation
    copy: int
    id: str
    text: str
    detail: str


@dataclass(slots=True)
class Tally:
    """What became of an operation: children that stay, those refused by reason, pieces (sentences) that stayed as they
    were because their new form failed a gate."""

    children: int = 0
    characters: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    pieces: Counter[str] = field(default_factory=Counter)

    def json(self) -> dict[str, Any]:
        """As plain values."""
        counts = {"children": self.children, "characters": self.characters}
        return counts | {"refused": dict(self.refused), "pieces": dict(self.pieces)}

    def add(self, told: Mapping[str, Any]) -> None:
        """Take in what ``json`` gave."""
        self.children += told["children"]
        self.characters += told["characters"]
        self.refused.update(told["refused"])
        self.pieces.update(told["pieces"])


def child_id(parent: str, operation: str, copy: int, seed: int) -> str:
    """The id of a child, 32 hexadecimal digits."""
    return document_id(parent, f"{operation}/{copy}/{seed}")


def last_id(keep: float) -> str:
    """The beginning of the last id that a child may have, where the share ``keep`` of all children is wanted."""
    return f"{min(1 << 64, int(keep * _SLACK * 2**64)) - 1:016x}" if keep < 1 else _LAST


def augment_unit(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Children of one unit, for a worker. ``payload``:

    - ``unit``: see ``data.units``; rows with ``DOCUMENTS``' columns (others stay null in children)
    - ``folder``: gets ``children.parquet``, ``ledger.parquet`` and ``counts.json`` (a ``Tally`` for each label)
    - ``operations``: ``Operation.json`` of each; ``seed``; ``keep``: from ``keep_share`` (default 1)
    - ``held_out``: a file of ``HeldOut.save`` (optional): what is close to such a document is neither parent nor child

    Only rows whose split is "train" and that are no children themselves get any.
    """
    folder = Path(payload["folder"])
    if not is_published(folder):
        with publish(folder) as staging:
            counts = _augment(payload, staging)
            told = {label: tally.json() for label, tally in counts.items()}
            (staging / "counts.json").write_bytes(orjson.dumps(told))
    return {"rows": payload["unit"]["rows"]}


def _augment(payload: Mapping[str, Any], out: Path) -> dict[str, Tally]:
    operations = [Operation.of(values) for values in payload["operations"]]
    seed, limit = int(payload.get("seed", 0)), last_id(payload.get("keep", 1.0))
    held_out = HeldOut.load(Path(payload["held_out"])) if payload.get("held_out") else None
    schema = pq.read_schema(payload["unit"]["file"])
    tallies: dict[str, Tally] = {}
    with PartWriter(out / "children.parquet", schema) as children, ledger_writer(out) as ledger:
        for batch in read_unit(payload["unit"]):
            parents = _training(batch)
            rows = parents.to_pylist()
            made = list(
                family(parents, operations, seed=seed, limit=limit, held_out=held_out, tallies=tallies, rows=rows)
            )
            if made:
                documents = [_document(rows[child.row], child, seed) for child in made]
                children.write(pa.RecordBatch.from_pylist(documents, schema=schema))
                entries = [_entry(rows[child.row], child, seed) for child in made]
                ledger.write(pa.RecordBatch.from_pylist(entries, schema=LEDGER))
    return tallies


def _training(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that may have children."""
    splits, parents = batch.column("split").to_pylist(), batch.column("parent_id").to_pylist()
    texts = batch.column("text").to_pylist()
    wanted = [s == "train" and p is None and bool(t) for s, p, t in zip(splits, parents, texts, strict=True)]
    return batch.filter(pa.array(wanted, pa.bool_()))


def family(
    parents: pa.RecordBatch,
    operations: Sequence[Operation],
    *,
    seed: int,
    limit: str = _LAST,
    held_out: HeldOut | None = None,
    tallies: dict[str, Tally],
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> Iterator[Child]:
    """Each child that is kept of ``parents`` (columns id, text, source, language); ``tallies`` are added to.

    ``rows``: ``parents`` as dicts, where they are at hand already.
    """
    rows = parents.to_pylist() if rows is None else rows
    close = held_out.near([row["text"] for row in rows]) if held_out and rows else None
    siblings: list[list[tuple[str, frozenset[Any]]]] = [[] for _ in rows]
    for operation in operations:
        tally = tallies.setdefault(operation.label, Tally())
        chosen = _chosen(rows, operation, seed, limit, close, tally)
        if not chosen:
            continue
        function = AUGMENTERS.get(operation.use).function
        batch = parents.take(pa.array(chosen, pa.int64()))
        own_seed = int(blake3_hex("operation", str(seed), operation.label)[:15], 16)
        made = function(batch, copies=operation.copies, seed=own_seed, **_tuples(operation.parameters))
        refused, pieces = refused_in(made)
        tally.refused.update(refused)
        tally.pieces.update(pieces)
        near = held_out.near(made.column("text").to_pylist()) if held_out and made.num_rows else None
        for number, child in enumerate(made.to_pylist()):
            place, text = chosen[child["parent"]], child["text"]
            row = rows[place]
            name = child_id(row["id"], operation.label, child["copy"], seed)
            if name[:16] > limit:
                continue
            reason = CHILD_CLOSE if near is not None and near[number] else _too_near(text, row["text"], siblings[place])
            if reason:
                tally.refused[reason] += 1
                continue
            tally.children += 1
            tally.characters += len(text)
            yield Child(place, operation, child["copy"], name, text, child["detail"])


def _too_near(text: str, parent: str, siblings: list[tuple[str, frozenset[Any]]]) -> str | None:
    if not siblings:
        siblings.append((parent, trigrams(parent)))
    own = trigrams(text)
    for number, (other, grams) in enumerate(siblings):
        if text == other or is_near(own, grams):
            return AS_PARENT if number == 0 else AS_CHILD
    siblings.append((text, own))
    return None


def _chosen(
    rows: Sequence[Mapping[str, Any]],
    operation: Operation,
    seed: int,
    limit: str,
    close: NDArray[np.bool_] | None,
    tally: Tally,
) -> list[int]:
    """The rows that an operation is meant for and of whose children at least one may fit the budget."""
    found: list[int] = []
    for number, row in enumerate(rows):
        if not operation.fits(row):
            continue
        if operation.share < 1:
            draw = int(blake3_hex("share", str(seed), operation.label, row["id"])[:13], 16) / 16**13
            if draw >= operation.share:
                continue
        names = [child_id(row["id"], operation.label, copy, seed) for copy in range(operation.copies)]
        wanted = sum(name[:16] <= limit for name in names)
        if wanted and close is not None and close[number]:
            tally.refused[PARENT_CLOSE] += wanted
        elif wanted:
            found.append(number)
    return found


def _tuples(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}


def _document(row: Mapping[str, Any], child: Child, seed: int) -> dict[str, Any]:
    operation = child.operation
    told = {"operation": operation.label, "parameters": operation.told, "seed": seed, "copy": child.copy}
    return {
        **{key: row[key] for key in _INHERITED},
        "id": child.id,
        "text": child.text,
        "text_hash": text_hash(child.text),
        "language": row["language"],
        "parent_id": row["id"],
        "split": row["split"],
        "meta": orjson.dumps({"augmented": told}).decode(),
    }


def _entry(row: Mapping[str, Any], child: Child, seed: int) -> dict[str, Any]:
    detail = {"parent": row["id"], "copy": child.copy, "seed": seed}
    return {
        "id": child.id,
        "source": row["source"],
        "step": f"augment {child.operation.label}",
        "action": "augment",
        "reason": child.operation.use,
        "detail": orjson.dumps({**detail, "done": orjson.Fragment(child.detail)}).decode(),
    }
