"""The formats by name, each one function: shards of one split into files that begin with a name.

datatrove   NAME.ds, .ds.index, .ds.loss, .ds.metadata: tokens (uint16 or uint32), ends of documents (uint64), one bool
            a token, tokenizer and counts in words (datatrove 0.10, ``pipeline/tokens``)
megatron    NAME.bin, NAME.idx: tokens (uint16 under 65,500 ids, else int32) and the index of Megatron-LM's
            ``IndexedDataset``: one sequence a document
nanogpt     NAME.bin: tokens (uint16) one after another; split names are train and val
olmo        NAME-00000.npy, .csv.gz, …: tokens without a header for ``numpy.memmap`` (uint16 or uint32), and for each
            document start, end, id, source and number (dolma 1.2, ``dolma tokens``)

In all of them one separator stands behind each document.
"""

from __future__ import annotations

import csv
import gzip
import io
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lamina.data.export.blocks import blocks
from lamina.data.shards import Shards
from lamina.kit.durable import publish
from lamina.kit.errors import BusyError, ConfigError, InputError
from lamina.kit.progress import Progress, Task, open_progress

OLMO_TOKENS = 1 << 29  # of a file
_MEGATRON_CODES = {"<u2": 8, "<i4": 4}
_MEGATRON_NARROW = 65_500
_MEGATRON_LONGEST = (1 << 31) - 1
_SPLITS = {"nanogpt": {"train": "train", "held-out": "val"}}


def export(
    splits: Mapping[str, Shards], folder: Path, format: str, *, tokenizer: str = "", progress: Progress | None = None
) -> list[Path]:
    """Write the shards of each split (train, held-out) into the new ``folder``; the files.

    ``tokenizer``: its name, for the record. Raises ``ConfigError`` for an unknown format, ``InputError`` for shards
    that the format cannot hold, ``BusyError`` for a folder that stands.
    """
    write = FORMATS.get(format)
    if write is None:
        raise ConfigError(f"there is no format '{format}'", where="export", hint=", ".join(FORMATS))
    if folder.exists():
        raise BusyError("is there already", where=str(folder), hint="name a new folder")
    shown = progress or open_progress("quiet")
    with publish(folder) as staging:
        for split, shards in splits.items():
            name = _SPLITS.get(format, {}).get(split, split.replace("-", "_"))
            with shown.task(f"export {split}", total=shards.documents, unit="documents") as task:
                write(shards, staging, name, tokenizer, task)
    return sorted(path for path in folder.iterdir() if path.name != "manifest.json")


def datatrove(shards: Shards, folder: Path, name: str, tokenizer: str, task: Task) -> None:
    """The triple of datatrove's ``DocumentTokenizer``, and its line of metadata."""
    width = shards.stream.dtype.itemsize
    total = 0
    with ExitStack() as stack:
        suffixes = ("ds", "ds.loss", "ds.index")
        tokens, loss, index = (stack.enter_context((folder / f"{name}.{s}").open("wb")) for s in suffixes)
        for block in blocks(shards):
            tokens.write(block.tokens.tobytes())
            loss.write(block.loss.tobytes())
            index.write((block.ends + total).astype("<u8").tobytes())
            total += len(block.tokens)
            task.advance(len(block.ends))
    words = [f"{tokenizer or 'tokenizer.json'}|{width}", str(total), _metric(total)]
    (folder / f"{name}.ds.metadata").write_text("\n".join(words), encoding="utf-8")


def megatron(shards: Shards, folder: Path, name: str, tokenizer: str, task: Task) -> None:
    """Megatron-LM's indexed dataset: header, version, code of the type, counts, sizes (int32), places in bytes (int64),
    first sequence of each document and one more (int64)."""
    dtype = np.dtype("<u2" if shards.facts["vocabulary"] < _MEGATRON_NARROW else "<i4")
    sizes = []
    with (folder / f"{name}.bin").open("wb") as tokens:
        for block in blocks(shards):
            tokens.write(block.tokens.astype(dtype).tobytes())
            sizes.append(np.diff(block.ends, prepend=0))
            task.advance(len(block.ends))
    lengths = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    if len(lengths) and int(lengths.max()) > _MEGATRON_LONGEST:
        raise InputError(f"a document of {int(lengths.max()):,} tokens is too long for Megatron's int32 sizes")
    places = (np.cumsum(lengths) - lengths) * dtype.itemsize
    with (folder / f"{name}.idx").open("wb") as index:
        index.write(b"MMIDIDX\x00\x00")
        index.write(struct.pack("<QB", 1, _MEGATRON_CODES[dtype.str]))
        index.write(struct.pack("<QQ", len(lengths), len(lengths) + 1))
        index.write(lengths.astype("<i4").tobytes())
        index.write(places.astype("<i8").tobytes())
        index.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())


def nanogpt(shards: Shards, folder: Path, name: str, tokenizer: str, task: Task) -> None:
    """One stream of uint16; ``meta.json`` has the size of the vocabulary (nanoGPT's own meta is a pickle)."""
    if shards.stream.dtype.itemsize != 2:
        vocabulary = shards.facts["vocabulary"]
        raise InputError(
            f"nanoGPT reads uint16, which cannot hold {vocabulary:,} ids",
            where=str(shards.path),
            hint="a vocabulary of at most 65,536, or the format megatron, olmo or datatrove",
        )
    with (folder / f"{name}.bin").open("wb") as tokens:
        for block in blocks(shards):
            tokens.write(block.tokens.tobytes())
            task.advance(len(block.ends))
    facts = {"vocab_size": shards.facts["vocabulary"], "eot_token": shards.facts.get("end"), "tokenizer": tokenizer}
    (folder / "meta.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def olmo(shards: Shards, folder: Path, name: str, tokenizer: str, task: Task) -> None:
    """Raw tokens in files of at most ``OLMO_TOKENS`` (or one document), and where each document lies in its file."""
    part, number = _OlmoPart(folder, name, 0), 0
    try:
        for block in blocks(shards):
            begin = 0
            for end, id, source in zip(block.ends.tolist(), block.ids, block.sources, strict=True):
                if part.total and part.total + end - begin > OLMO_TOKENS:
                    part.close()
                    part = _OlmoPart(folder, name, part.number + 1)
                part.add(block.tokens[begin:end].tobytes(), end - begin, (id, source, number))
                begin, number = end, number + 1
            task.advance(len(block.ends))
    finally:
        part.close()


class _OlmoPart:
    """One file of tokens and its table."""

    def __init__(self, folder: Path, name: str, number: int) -> None:
        self.number, self.total = number, 0
        base = folder / f"{name}-{number:05d}"
        self._tokens = base.with_suffix(".npy").open("wb")
        # No time and no name inside: the same tokens give the same bytes.
        self._raw = base.with_suffix(".csv.gz").open("wb")
        self._zip = gzip.GzipFile("", "wb", 6, self._raw, 0)
        self._text = io.TextIOWrapper(self._zip, "utf-8", newline="")
        self._rows = csv.writer(self._text)

    def add(self, tokens: bytes, size: int, row: Iterable[Any]) -> None:
        self._tokens.write(tokens)
        self._rows.writerow((self.total, self.total + size, *row))
        self.total += size

    def close(self) -> None:
        for file in (self._text, self._zip, self._raw, self._tokens):
            file.close()


def _metric(count: int) -> str:
    """A count in three digits with a unit, as datatrove writes it: 12.3 MT."""
    power = min((len(str(count)) - 1) // 3, 4)
    value = count / 1000**power
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {('', 'k', 'M', 'G', 'T')[power]}T"


FORMATS: dict[str, Callable[[Shards, Path, str, str, Task], None]] = {
    "datatrove": datatrove,
    "megatron": megatron,
    "nanogpt": nanogpt,
    "olmo": olmo,
}
