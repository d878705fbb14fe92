"""Token shards: documents as token ids in one file, where they end, and which tokens carry loss.

tokens.bin      uint16 or uint32, little endian (datatrove's .ds)
tokens.index    uint64, cumulative document ends in tokens (.ds.index)
tokens.loss     one bool per token (.ds.loss)
tokens.json     what they were made with: tokenizer, dtype, counts, digest
documents.parquet   id, source and first token of each document
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import blake3
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.contracts.tokens import Tokenizer
from lamina.data.parts import read_parts, rows_of
from lamina.kit.errors import CorruptError, InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress

_FORMAT = 1
_NARROW = 1 << 16  # vocabularies up to here fit into uint16
_CHUNK = 128  # documents that are encoded together
_PATTERNS = {"train": "train-*.parquet", "held-out": "held_out-*.parquet"}
_PROBE = "The 3 whales — señor Ahab's größte Sorge — dive at 10:45.\n\tx = [0x1F, 'wal'];  鯨が潜る 🐋"
_DOCUMENTS = pa.schema([("id", pa.string()), ("source", pa.string()), ("start", pa.int64())])


class ShardWriter:
    """Appends documents to the shards in ``folder``; a context manager. What was in the folder is replaced."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, **facts: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._facts = {"tokenizer": fingerprint(tokenizer), "vocabulary": tokenizer.vocabulary, **facts}
        self._dtype = np.dtype("<u2" if tokenizer.vocabulary <= _NARROW else "<u4")
        self._tokens: BinaryIO = (folder / "tokens.bin").open("wb")
        self._loss: BinaryIO = (folder / "tokens.loss").open("wb")
        self._hash = blake3.blake3()
        self._ends: list[int] = []
        self._names: list[tuple[str, str]] = []
        self._total = self._learned = 0

    def add(self, ids: Sequence[int], learned: Sequence[bool], *, id: str, source: str) -> None:
        """One document; ``learned[i]``: token i carries loss (as a target; the first token never is one)."""
        if len(ids) != len(learned) or not len(ids):
            raise InputError(f"{len(ids)} tokens and {len(learned)} marks of loss are no document", where=id)
        tokens = np.asarray(ids, self._dtype).tobytes()
        marks = np.asarray(learned, np.bool_)
        for file, data in ((self._tokens, tokens), (self._loss, marks.tobytes())):
            file.write(data)
            self._hash.update(data)
        self._total += len(ids)
        self._learned += int(marks[1:].sum())
        self._ends.append(self._total)
        self._names.append((id, source))

    def close(self) -> Shards:
        """Write index and sidecar, and open what was written."""
        self._tokens.close()
        self._loss.close()
        ends = np.asarray(self._ends, "<u8")
        (self._folder / "tokens.index").write_bytes(ends.tobytes())
        starts = [0, *self._ends[:-1]] if self._ends else []
        columns = [[n for n, _ in self._names], [s for _, s in self._names], starts]
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, _DOCUMENTS, strict=True)], schema=_DOCUMENTS)
        pq.write_table(table, self._folder / "documents.parquet", compression="zstd")
        self._hash.update(ends.tobytes())
        facts = {
            "format": _FORMAT,
            "dtype": "uint16" if self._dtype.itemsize == 2 else "uint32",
            "documents": len(self._ends),
            "tokens": self._total,
            "learned": self._learned,
            "digest": self._hash.hexdigest()[:32],
            **self._facts,
        }
        (self._folder / "tokens.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        return Shards(self._folder)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tokens.close()
        self._loss.close()


class Shards:
    """Written shards, memory-mapped. Raises ``CorruptError`` where the files do not fit together."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self.facts: dict[str, Any] = json.loads((self.path / "tokens.json").read_bytes())
        except FileNotFoundError as error:
            raise InputError("there are no token shards here", where=str(self.path)) from error
        if self.facts.get("format") != _FORMAT:
            raise InputError(f"shards of format {self.facts.get('format')}; this is {_FORMAT}", where=str(self.path))
        self.ends: NDArray[np.int64] = np.fromfile(self.path / "tokens.index", "<u8").astype(np.int64)
        self._dtype = np.dtype("<u2" if self.facts["dtype"] == "uint16" else "<u4")
        total = int(self.ends[-1]) if len(self.ends) else 0
        sizes = {"tokens.bin": total * self._dtype.itemsize, "tokens.loss": total}
        for name, size in sizes.items():
            found = (self.path / name).stat().st_size
            if found != size or total != self.facts["tokens"]:
                raise CorruptError(f"has {found} bytes where the index asks for {size}", where=str(self.path / name))

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.ends)

    @property
    def total_tokens(self) -> int:
        """Tokens of all documents."""
        return int(self.facts["tokens"])

    @property
    def learned_tokens(self) -> int:
        """Tokens that carry loss."""
        return int(self.facts["learned"])

    @property
    def digest(self) -> str:
        """Of tokens, loss marks and index."""
        return str(self.facts["digest"])

    @cached_property
    def stream(self) -> NDArray[np.unsignedinteger[Any]]:
        """All tokens one after another, (N,)."""
        return self._map("tokens.bin", self._dtype)

    @cached_property
    def loss(self) -> NDArray[np.bool_]:
        """Which tokens of the stream carry loss, (N,)."""
        return self._map("tokens.loss", np.dtype(np.bool_))

    def tokens(self, i: int) -> NDArray[np.unsignedinteger[Any]]:
        """The tokens of document ``i``."""
        return self.stream[self._span(i)]

    def learned(self, i: int) -> NDArray[np.bool_]:
        """Which tokens of document ``i`` carry loss."""
        return self.loss[self._span(i)]

    def _span(self, i: int) -> slice:
        return slice(int(self.ends[i - 1]) if i else 0, int(self.ends[i]))

    def _map(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        if not self.total_tokens:  # an empty file cannot be mapped
            return np.zeros(0, dtype)
        return np.memmap(self.path / name, dtype, "r")


def write_shards(
    corpus: Path, staging: Path, tokenizer: Tokenizer, *, split: str = "train", progress: Progress | None = None
) -> Shards:
    """The documents of a corpus' ``split`` (train or held-out) as shards in the folder ``staging``.

    Each document is the separator ``end_ids[0]``, its tokens and the separator again: the first one is what it begins
    after (as in evaluation), the last one is what the model is to say when it is over.
    """
    if split not in _PATTERNS:
        raise InputError(f"there is no split '{split}'", hint=", ".join(_PATTERNS))
    files = sorted((corpus / "data").glob(_PATTERNS[split]))
    end = tokenizer.end_ids[0]
    total = rows_of(files)
    with ShardWriter(staging, tokenizer, split=split, start=end, end=end) as writer:
        for batch in _advancing(read_parts(files, ["id", "source", "text"]), "tokenize", total, progress):
            for begin in range(0, batch.num_rows, _CHUNK):
                rows = batch.slice(begin, _CHUNK).to_pydict()
                encoded = tokenizer.encode_batch([text or "" for text in rows["text"]])
                for id, source, ids in zip(rows["id"], rows["source"], encoded, strict=True):
                    writer.add([end, *ids, end], [False, *[True] * (len(ids) + 1)], id=id, source=source)
        return writer.close()


def fingerprint(tokenizer: Tokenizer) -> str:
    """What tells two tokenizers apart: size, ends, and what they make of a text that has a bit of everything."""
    facts = [tokenizer.vocabulary, list(tokenizer.end_ids), list(tokenizer.encode(_PROBE))]
    return blake3_hex(orjson.dumps(facts))[:32]


def _advancing(
    batches: Iterable[pa.RecordBatch], name: str, total: int, progress: Progress | None
) -> Iterator[pa.RecordBatch]:
    if progress is None:
        yield from batches
        return
    with progress.task(name, total=total, unit="documents") as task:
        for batch in batches:
            yield batch
            task.advance(batch.num_rows)
