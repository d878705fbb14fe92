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
from blake3 import blake3
from numpy.typing import NDArray

from lamina.contracts.corpus import LEDGER
from lamina.data.augment.children import refused_in
from lamina.data.augment.kin import Kin
from lamina.data.augment.plan import Operation
from lamina.data.augment.similar import HeldOut
from lamina.data.parts import PartWriter, ledger_writer
from lamina.data.units import read_unit
from lamina.kit.durable import is_published, publish
from lamina.kit.identity import blake3_hex, text_hash
from lamina.kit.registry import AUGMENTERS

#: The reasons for which a child is left out, whatever made it.
PARENT_CLOSE = "its parent is close to a held-out document"
CHILD_CLOSE = "close to a held-out document"
_SLACK = 1.5  # children made beyond the budget, since how many will fall away is not known before
_INHERITED = (
    *("source", "url", "title", "author", "created", "collected", "language", "license", "rights"),
    *("group_id", "position", "split"),
)
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
    return blake3(f"{parent}\n{operation}\n{copy}\n{seed}".encode()).hexdigest(length=16)


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
            made = list(family(parents, operations, seed=seed, limit=limit, held_out=held_out, tallies=tallies))
            if made:
                own = parents.take(pa.array([child.row for child in made], pa.int64()))
                children.write(_documents(own, made, seed))
                ledger.write(_entries(own, made, seed))
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
) -> Iterator[Child]:
    """Each child that is kept of ``parents`` (columns id, text, source, language); ``tallies`` are added to."""
    texts: list[str] = parents.column("text").to_pylist()
    close = held_out.near(texts) if held_out and texts else None
    kin = Kin(texts)
    for operation in operations:
        tally = tallies.setdefault(operation.label, Tally())
        chosen = _chosen(parents, operation, seed, limit, close, tally)
        if not chosen:
            continue
        function = AUGMENTERS.get(operation.use).function
        rows = list(chosen)
        batch = parents if len(rows) == len(texts) else parents.take(pa.array(rows, pa.int64()))
        own_seed = int(blake3_hex("operation", str(seed), operation.label)[:15], 16)
        made = function(batch, copies=operation.copies, seed=own_seed, **_tuples(operation.parameters))
        refused, pieces = refused_in(made)
        tally.refused.update(refused)
        tally.pieces.update(pieces)
        columns = [made.column(name).to_pylist() for name in ("parent", "copy", "text", "detail")]
        places = [rows[parent] for parent in columns[0]]
        names = [chosen[row][copy] for row, copy in zip(places, columns[1], strict=True)]
        near = held_out.near(columns[2]).tolist() if held_out and made.num_rows else [False] * made.num_rows
        reasons = kin.refuse(columns[2], places, [name is None or bool(n) for name, n in zip(names, near, strict=True)])
        for row, copy, text, detail, name, is_near, reason in zip(
            places, *columns[1:], names, near, reasons, strict=True
        ):
            if name is None:
                continue
            if is_near or reason:
                tally.refused[CHILD_CLOSE if is_near else str(reason)] += 1
                continue
            tally.children += 1
            tally.characters += len(text)
            yield Child(row, operation, copy, name, text, detail)


def _chosen(
    parents: pa.RecordBatch,
    operation: Operation,
    seed: int,
    limit: str,
    close: NDArray[np.bool_] | None,
    tally: Tally,
) -> dict[int, list[str | None]]:
    """The rows that an operation is meant for and of whose children at least one may fit the budget, with the id of
    each copy, or None for one that may not."""
    found: dict[int, list[str | None]] = {}
    columns = [parents.column(name).to_pylist() for name in ("id", "source", "language")]
    for number, (id, source, language) in enumerate(zip(*columns, strict=True)):
        if not operation.fits(source, language):
            continue
        if operation.share < 1:
            draw = int(blake3_hex("share", str(seed), operation.label, id)[:13], 16) / 16**13
            if draw >= operation.share:
                continue
        names = [child_id(id, operation.label, copy, seed) for copy in range(operation.copies)]
        fitting = [name if name[:16] <= limit else None for name in names]
        wanted = sum(name is not None for name in fitting)
        if wanted and close is not None and close[number]:
            tally.refused[PARENT_CLOSE] += wanted
        elif wanted:
            found[number] = fitting
    return found


def _tuples(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}


def _documents(parents: pa.RecordBatch, made: Sequence[Child], seed: int) -> pa.RecordBatch:
    """The children as documents: what they inherit from ``parents`` (one a child), what is their own, else null."""
    told: dict[tuple[str, int], str] = {}
    for child in made:
        key = (child.operation.label, child.copy)
        if key not in told:
            facts = {"parameters": child.operation.told, "seed": seed, "copy": child.copy}
            told[key] = orjson.dumps({"augmented": {"operation": child.operation.label, **facts}}).decode()
    own = {
        "id": [child.id for child in made],
        "text": [child.text for child in made],
        "text_hash": [text_hash(child.text) for child in made],
        "parent_id": parents.column("id"),
        "meta": [told[child.operation.label, child.copy] for child in made],
    }
    arrays = []
    for field_ in parents.schema:
        if field_.name in own:
            arrays.append(pa.array(own[field_.name], field_.type))
        elif field_.name in _INHERITED:
            arrays.append(parents.column(field_.name))
        else:
            arrays.append(pa.nulls(len(made), field_.type))
    return pa.RecordBatch.from_arrays(arrays, schema=parents.schema)


def _entries(parents: pa.RecordBatch, made: Sequence[Child], seed: int) -> pa.RecordBatch:
    """The children's rows of the ledger."""
    details = [
        orjson.dumps({"parent": parent, "copy": child.copy, "seed": seed, "done": orjson.Fragment(child.detail)})
        for parent, child in zip(parents.column("id").to_pylist(), made, strict=True)
    ]
    columns = {
        "id": [child.id for child in made],
        "source": parents.column("source"),
        "step": [f"augment {child.operation.label}" for child in made],
        "action": ["augment"] * len(made),
        "reason": [child.operation.use for child in made],
        "detail": [detail.decode() for detail in details],
    }
    nulls = pa.nulls(len(made), pa.string())
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else nulls for f in LEDGER]
    return pa.RecordBatch.from_arrays(arrays, schema=LEDGER)
