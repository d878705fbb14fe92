"""Token shards: documents as token ids in one file, where they end, and which tokens carry loss.

tokens.bin      uint16 or uint32, little endian (datatrove's .ds)
tokens.index    uint64, cumulative document ends in tokens (.ds.index)
tokens.loss     one bool per token (.ds.loss)
tokens.json     what they were made with: tokenizer, dtype, counts, digest
documents.parquet   id, source and first token of each document
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import blake3
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.contracts.tokens import Tokenizer
from lamina.data.shard_units import Part, encode_unit, read_unit_tokens, token_units
from lamina.data.tokenizer.encode import Encoder
from lamina.kit.errors import CorruptError, InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress, open_progress
from lamina.kit.tokenizer import ModelTokenizer
from lamina.kit.tokenizer_identity import fingerprint as fingerprint  # read from here, too
from lamina.kit.workers import Workers

_FORMAT = 1
_NARROW = 1 << 16  # vocabularies up to here fit into uint16
_ROWS = 1 << 20  # of a row group in documents.parquet
_PATTERNS = {"train": "train-*.parquet", "held-out": "held_out-*.parquet"}
_DOCUMENTS = pa.schema([("id", pa.string()), ("source", pa.string()), ("start", pa.int64())])


class ShardWriter:
    """Appends documents to the shards in ``folder``; a context manager. What was in the folder is replaced."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, **facts: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._facts = {"tokenizer": fingerprint(tokenizer), "vocabulary": tokenizer.vocabulary, **facts}
        self._dtype = dtype_of(tokenizer)
        self._open = ExitStack()
        names = ("tokens.bin", "tokens.loss", "tokens.index")
        self._tokens, self._loss, self._index = (self._open.enter_context((folder / n).open("wb")) for n in names)
        place = folder / "documents.parquet"
        self._documents = self._open.enter_context(pq.ParquetWriter(place, _DOCUMENTS, compression="zstd"))
        self._hash = blake3.blake3()
        self._waiting: tuple[list[Any], ...] = ([], [], [])
        self._count = self._total = self._learned = 0

    def add(self, ids: Sequence[int], learned: Sequence[bool], *, id: str, source: str) -> None:
        """One document; ``learned[i]``: token i carries loss (as a target; the first token never is one)."""
        if len(ids) != len(learned) or not len(ids):
            raise InputError(f"{len(ids)} tokens and {len(learned)} marks of loss are no document", where=id)
        tokens = np.asarray(ids, self._dtype)
        self._write(Part(tokens, np.asarray([len(ids)]), [id], [source]), np.asarray(learned, np.bool_))

    def extend(self, part: Part) -> None:
        """Documents of two tokens or more; all tokens but a document's first carry loss."""
        marks = np.ones(len(part.tokens), np.bool_)
        marks[part.ends[:-1]] = False
        marks[:1] = False
        self._write(part, marks)

    def close(self) -> Shards:
        """Write index and sidecar, and open what was written."""
        self._flush()
        self._open.close()
        with (self._folder / "tokens.index").open("rb") as index:
            while block := index.read(1 << 20):
                self._hash.update(block)
        facts = {
            "format": _FORMAT,
            "dtype": "uint16" if self._dtype.itemsize == 2 else "uint32",
            "documents": self._count,
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
        self._open.close()

    def _write(self, part: Part, marks: NDArray[np.bool_]) -> None:
        tokens, loss = (memoryview(array.tobytes()) for array in (part.tokens.astype(self._dtype, copy=False), marks))
        self._tokens.write(tokens)
        self._loss.write(loss)
        width = self._dtype.itemsize
        edges = [0, *part.ends.tolist()]
        for begin, end in pairwise(edges):  # the digest goes by documents
            self._hash.update(tokens[begin * width : end * width])
            self._hash.update(loss[begin:end])
        starts = np.asarray(edges[:-1], np.int64)
        self._index.write((part.ends + self._total).astype("<u8").tobytes())
        columns = (part.ids, part.sources, (starts + self._total).tolist())
        for column, values in zip(self._waiting, columns, strict=True):
            column += values
        self._learned += int(marks.sum()) - int(marks[starts].sum())
        self._total += len(part.tokens)
        self._count += len(part.ends)
        while len(self._waiting[0]) > _ROWS:
            self._flush()

    def _flush(self) -> None:
        """One row group, of the same documents whatever the parts were."""
        arrays = [pa.array(c[:_ROWS], field.type) for c, field in zip(self._waiting, _DOCUMENTS, strict=True)]
        self._documents.write_table(pa.Table.from_arrays(arrays, schema=_DOCUMENTS))
        for column in self._waiting:
            del column[:_ROWS]


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
    corpus: Path,
    staging: Path,
    tokenizer: Tokenizer,
    *,
    split: str = "train",
    workers: int | None = 1,
    work: Path | None = None,
    progress: Progress | None = None,
) -> Shards:
    """The documents of a corpus' ``split`` (train or held-out) as shards in the folder ``staging``.

    Each document is what it begins after, its tokens and its end: for a model that goes on with text twice the
    separator ``end_ids[0]`` (the first as in evaluation, the last is what the model is to say when it is over), for
    one with [CLS] and [SEP] these.

    A tokenizer that was opened from a folder runs in ``workers`` processes (None: one a processor). Where there is a
    folder ``work``, what a killed run did is found again there. The bytes are the same in any case.
    """
    if split not in _PATTERNS:
        raise InputError(f"there is no split '{split}'", hint=", ".join(_PATTERNS))
    files = sorted((corpus / "data").glob(_PATTERNS[split]))
    edges = document_ends(tokenizer)
    units = token_units(files)
    total = sum(unit["rows"] for unit in units)
    with ExitStack() as stack:
        writer = stack.enter_context(ShardWriter(staging, tokenizer, split=split, start=edges[0], end=edges[1]))
        shown = progress or open_progress("quiet")
        task = stack.enter_context(shown.task("tokenize", total=total, unit="documents"))
        if isinstance(tokenizer, ModelTokenizer) and tokenizer.folder and (work or workers != 1):
            place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(dir=staging)))
            parts = _on_workers(units, tokenizer, edges, place, stack.enter_context(Workers(workers)))
        else:
            encoder = Encoder(tokenizer)
            parts = (p for unit in units for p in encode_unit(unit, encoder, edges, dtype_of(tokenizer).str))
        for part in parts:
            writer.extend(part)
            task.advance(len(part.ends), tokens=len(part.tokens))
        return writer.close()


def _on_workers(
    units: Sequence[dict[str, Any]], tokenizer: ModelTokenizer, edges: tuple[int, int], work: Path, workers: Workers
) -> Iterator[Part]:
    """The units' tokens, in order; they lie under ``work`` until all is done."""
    dtype = dtype_of(tokenizer).str
    common = {"tokenizer": str(tokenizer.folder), "edges": edges, "dtype": dtype}
    of = [fingerprint(tokenizer), *(f"{u['file']} {u['begin']} {u['end']}" for u in units)]
    home = work / f"tokens-{blake3_hex(*of)[:16]}"
    folders = [home / f"{number:05d}" for number in range(len(units))]
    payloads = [common | {"unit": unit, "folder": str(place)} for unit, place in zip(units, folders, strict=True)]
    done = workers.map("lamina.data.shard_units:tokenize_unit", payloads)
    for place, _ in zip(folders, done, strict=True):
        yield read_unit_tokens(place, dtype)
    shutil.rmtree(home, ignore_errors=True)


def document_ends(tokenizer: Tokenizer) -> tuple[int, int]:
    """What a document begins after, and what it ends with."""
    if isinstance(tokenizer, ModelTokenizer):
        return tokenizer.document_ends
    return tokenizer.end_ids[0], tokenizer.end_ids[0]


def dtype_of(tokenizer: Tokenizer) -> np.dtype[Any]:
    """Of its tokens in shards."""
    return np.dtype("<u2" if tokenizer.vocabulary <= _NARROW else "<u4")
