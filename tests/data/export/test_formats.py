"""Each format is parsed here by its published layout, without the code that wrote it."""

from __future__ import annotations

import csv
import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.contracts.tokens import Rendered
from lamina.data.export import blocks as blocks_module
from lamina.data.export import formats
from lamina.data.export.formats import export
from lamina.data.shards import Shards, ShardWriter
from lamina.kit.errors import BusyError, ConfigError, InputError

DOCUMENTS = {"a": [5, 6, 7], "b": [8], "c": [], "d": [9] * 20}
END = 1


class Numbers:
    """Stands for a tokenizer of some size."""

    end_ids = (END,)

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def encode(self, text: str) -> list[int]:
        return [min(b, self.vocabulary - 1) for b in text.encode()]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def render(self, messages: Any, *, open_answer: bool = False) -> Rendered:
        return Rendered([], [])


def shards(folder: Path, vocabulary: int = 300, start: int = END) -> Shards:
    with ShardWriter(folder, Numbers(vocabulary), split="train", start=start, end=END) as writer:
        for id, ids in DOCUMENTS.items():
            learned = [False, *([n % 2 == 0 for n in range(len(ids))]), True]
            writer.add([start, *ids, END], learned, id=id, source=f"source {id}")
        return writer.close()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "_TOKENS", 6)


STREAM = [t for ids in DOCUMENTS.values() for t in [*ids, END]]
ENDS = [4, 6, 7, 28]


@pytest.mark.parametrize(("vocabulary", "dtype"), [(300, "<u2"), (70_000, "<u4")])
def test_datatrove(tmp_path: Path, vocabulary: int, dtype: str) -> None:
    splits = {"train": shards(tmp_path / "s", vocabulary), "held-out": shards(tmp_path / "h", vocabulary)}
    files = export(splits, tmp_path / "out", "datatrove", tokenizer="own")
    assert [file.name for file in files] == [
        f"{split}.ds{suffix}" for split in ("held_out", "train") for suffix in ("", ".index", ".loss", ".metadata")
    ]
    base = tmp_path / "out" / "train.ds"
    assert np.fromfile(base, dtype).tolist() == STREAM
    assert np.fromfile(f"{base}.index", "<u8").tolist() == ENDS
    loss = [mark for ids in DOCUMENTS.values() for mark in [*(n % 2 == 0 for n in range(len(ids))), True]]
    assert np.fromfile(f"{base}.loss", np.bool_).tolist() == loss
    width = np.dtype(dtype).itemsize
    assert Path(f"{base}.metadata").read_text().split("\n") == [f"own|{width}", "28", "28.0 T"]


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0.00 T"), (999, "999 T"), (1234, "1.23 kT"), (12_345, "12.3 kT"), (123_456_789, "123 MT")]
)
def test_counts_in_words_are_datatroves(count: int, said: str) -> None:
    assert formats._metric(count) == said


def read_megatron(base: Path) -> tuple[list[list[int]], list[int], np.dtype[Any]]:
    """Sequences and first sequences of documents, as ``IndexedDataset`` reads them."""
    raw, data = base.with_suffix(".idx").read_bytes(), base.with_suffix(".bin").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00"
    version, code = struct.unpack_from("<QB", raw, 9)
    assert version == 1
    dtype = {1: np.dtype("u1"), 4: np.dtype("<i4"), 8: np.dtype("<u2")}[code]
    sequences, documents = struct.unpack_from("<QQ", raw, 18)
    sizes = np.frombuffer(raw, "<i4", sequences, 34)
    places = np.frombuffer(raw, "<i8", sequences, 34 + 4 * sequences)
    firsts = np.frombuffer(raw, "<i8", documents, 34 + 12 * sequences)
    assert len(raw) == 34 + 12 * sequences + 8 * documents
    found = [np.frombuffer(data, dtype, n, p).tolist() for n, p in zip(sizes.tolist(), places.tolist(), strict=True)]
    assert len(data) == int(sizes.sum()) * dtype.itemsize
    return found, firsts.tolist(), dtype


@pytest.mark.parametrize(("vocabulary", "dtype"), [(300, "<u2"), (65_499, "<u2"), (65_500, "<i4"), (70_000, "<i4")])
def test_megatron(tmp_path: Path, vocabulary: int, dtype: str) -> None:
    export({"train": shards(tmp_path / "s", vocabulary)}, tmp_path / "out", "megatron")
    sequences, firsts, found = read_megatron(tmp_path / "out" / "train")
    assert sequences == [[*ids, END] for ids in DOCUMENTS.values()]
    assert firsts == [0, 1, 2, 3, 4]
    assert found == np.dtype(dtype)


def test_nanogpt(tmp_path: Path) -> None:
    splits = {"train": shards(tmp_path / "s"), "held-out": shards(tmp_path / "h")}
    files = export(splits, tmp_path / "out", "nanogpt", tokenizer="own")
    assert [file.name for file in files] == ["meta.json", "train.bin", "val.bin"]
    for name in ("train", "val"):
        assert np.memmap(tmp_path / "out" / f"{name}.bin", np.uint16, "r").tolist() == STREAM
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta == {"vocab_size": 300, "eot_token": END, "tokenizer": "own"}


@pytest.mark.parametrize(("vocabulary", "dtype"), [(300, np.uint16), (70_000, np.uint32)])
def test_olmo(tmp_path: Path, vocabulary: int, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "OLMO_TOKENS", 8)
    export({"train": shards(tmp_path / "s", vocabulary)}, tmp_path / "out", "olmo")
    read, names = [], []
    for part in range(2):
        tokens = np.memmap(tmp_path / "out" / f"train-0000{part}.npy", dtype, "r")
        with gzip.open(tmp_path / "out" / f"train-0000{part}.csv.gz", "rt", newline="") as file:
            rows = list(csv.reader(file))
        for start, end, id, source, number in rows:
            read.append(tokens[int(start) : int(end)].tolist())
            names.append((part, id, source, int(number)))
        assert int(rows[-1][1]) == len(tokens)
    assert read == [[*ids, END] for ids in DOCUMENTS.values()]
    parts = [0, 0, 0, 1]
    assert names == [(parts[n], id, f"source {id}", n) for n, id in enumerate(DOCUMENTS)]
    export({"train": shards(tmp_path / "t", vocabulary)}, tmp_path / "again", "olmo")
    one, two = (sorted(p for p in (tmp_path / place).iterdir()) for place in ("out", "again"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_a_start_of_its_own_is_kept(tmp_path: Path) -> None:
    """[CLS] … [SEP]: only a separator that would stand twice is left out."""
    export({"train": shards(tmp_path / "s", start=2)}, tmp_path / "out", "nanogpt")
    found = np.fromfile(tmp_path / "out" / "train.bin", "<u2").tolist()
    assert found == [t for ids in DOCUMENTS.values() for t in [2, *ids, END]]


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    large = {"train": shards(tmp_path / "s", 70_000)}
    with pytest.raises(InputError, match="cannot hold 70,000 ids"):
        export(large, tmp_path / "out", "nanogpt")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="no format 'tfrecord'"):
        export(large, tmp_path / "out", "tfrecord")
    export(large, tmp_path / "out", "olmo")
    with pytest.raises(BusyError, match="is there already"):
        export(large, tmp_path / "out", "olmo")


def test_no_documents(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "s", Numbers(300), start=END, end=END) as writer:
        empty = writer.close()
    for name in formats.FORMATS:
        export({"train": empty}, tmp_path / name, name)
    assert read_megatron(tmp_path / "megatron" / "train") == ([], [0], np.dtype("<u2"))
    assert (tmp_path / "datatrove" / "train.ds").stat().st_size == 0


def test_a_document_too_long_for_megatron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_MEGATRON_LONGEST", 20)
    with pytest.raises(InputError, match="21 tokens is too long"):
        export({"train": shards(tmp_path / "s")}, tmp_path / "out", "megatron")
