"""Token shards without some documents: what stays is copied, nothing is tokenized anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from numpy.typing import NDArray

from lamina.contracts.tokens import Tokenizer
from lamina.data.forget_files import ids_in
from lamina.data.shards import Shards, fingerprint


def splice(shards: Path, staging: Path, ids: frozenset[str] | set[str]) -> int:
    """Token shards without the documents ``ids``: the others' tokens are copied, nothing is tokenized anew.

    What comes out is what ``write_shards`` would make of the corpus without them. Returns the documents left out.
    """
    facts = orjson.loads((shards / "tokens.json").read_bytes())
    ends = np.fromfile(shards / "tokens.index", "<u8").astype(np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    table = pq.read_table(shards / "documents.parquet")
    kept = np.array([id not in ids for id in table.column("id").to_pylist()], np.bool_)
    width = 2 if facts["dtype"] == "uint16" else 4
    staging.mkdir(parents=True, exist_ok=True)
    hashed, learned = blake3(), 0
    total = int(ends[-1]) if len(ends) else 0
    tokens = np.memmap(shards / "tokens.bin", np.uint8, "r") if total else np.zeros(0, np.uint8)
    marks = np.memmap(shards / "tokens.loss", np.bool_, "r") if total else np.zeros(0, np.bool_)
    with (staging / "tokens.bin").open("wb") as out, (staging / "tokens.loss").open("wb") as loss:
        for begin, end in _runs(kept):
            a, b = int(starts[begin]), int(ends[end - 1])
            out.write(tokens[a * width : b * width].tobytes())
            loss.write(marks[a:b].tobytes())
            for start, stop in zip(starts[begin:end].tolist(), ends[begin:end].tolist(), strict=True):
                hashed.update(tokens[start * width : stop * width].tobytes())
                hashed.update(marks[start:stop].tobytes())
                learned += int(marks[start + 1 : stop].sum())
    left = np.cumsum((ends - starts)[kept]).astype("<u8")
    (staging / "tokens.index").write_bytes(left.tobytes())
    hashed.update(left.tobytes())
    begins = np.concatenate([np.zeros(1, "<u8"), left])[:-1].astype(np.int64)
    rows = table.filter(pa.array(kept))
    place = rows.schema.get_field_index("start")
    rows = rows.set_column(place, rows.schema.field(place), pa.array(begins, pa.int64()))
    pq.write_table(rows, staging / "documents.parquet", compression="zstd")
    facts |= {
        "documents": int(kept.sum()),
        "tokens": int(left[-1]) if len(left) else 0,
        "learned": learned,
        "digest": hashed.hexdigest()[:32],
    }
    (staging / "tokens.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return int((~kept).sum())


def lessened(shards: Path, corpus: Path, staging: Path, tokenizer: Tokenizer) -> Shards | None:
    """Token shards of a corpus' training split from those of a corpus that held its documents and more; None where they
    are of another tokenizer, or lack a document."""
    facts = orjson.loads((shards / "tokens.json").read_bytes())
    wanted = [id for path in sorted((corpus / "data").glob("train-*.parquet")) for id in ids_in(path)]
    there = ids_in(shards / "documents.parquet")
    left = set(wanted)
    if facts["tokenizer"] != fingerprint(tokenizer) or [id for id in there if id in left] != wanted:
        return None
    splice(shards, staging, set(there) - left)
    return Shards(staging)


def _runs(kept: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Stretches of documents that stay."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
