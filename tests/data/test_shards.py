from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.chat import Message
from lamina.contracts.corpus import DOCUMENTS
from lamina.contracts.tokens import Rendered
from lamina.data.shards import Shards, ShardWriter, fingerprint, write_shards
from lamina.kit.errors import CorruptError, InputError


class Letters:
    """A tokenizer that knows each byte; ids 256 and 257 end a document and a turn."""

    end_ids = (256, 257)

    def __init__(self, vocabulary: int = 300) -> None:
        self.vocabulary = vocabulary

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="replace")

    def render(self, messages: Sequence[Message], *, open_answer: bool = False) -> Rendered:
        ids: list[int] = []
        learned: list[bool] = []
        for message in messages:
            head, said = self.encode(f"{message.role}: "), [*self.encode(message.content), 257]
            ids += head + said
            learned += [False] * len(head) + [message.role == "assistant"] * len(said)
        if open_answer:
            ids += self.encode("assistant: ")
            learned += [False] * len("assistant: ")
        return Rendered(ids, learned)


def write_corpus(folder: Path, texts: dict[str, str], split: str = "train") -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = [{"id": i, "text": t, "source": "s", "split": split} for i, t in texts.items()]
    name = {"train": "train", "held-out": "held_out"}[split]
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


def test_documents_between_separators(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", {"a": "whale", "b": "é", "c": ""})
    write_corpus(corpus, {"h": "hidden"}, "held-out")
    shards = write_shards(corpus, tmp_path / "t", Letters())
    assert (shards.documents, shards.total_tokens, shards.learned_tokens) == (3, 7 + 4 + 2, 6 + 3 + 1)
    assert shards.tokens(0).tolist() == [256, *b"whale", 256]
    assert shards.tokens(1).tolist() == [256, *"é".encode(), 256]
    assert shards.learned(0).tolist() == [False, *[True] * 6]
    held = write_shards(corpus, tmp_path / "h", Letters(), split="held-out")
    assert Letters().decode(held.tokens(0)) == "hidden"


def test_the_files_are_datatroves_triple(tmp_path: Path) -> None:
    write_shards(write_corpus(tmp_path / "c", {"a": "ab", "b": "c"}), tmp_path / "t", Letters())
    tokens = np.fromfile(tmp_path / "t" / "tokens.bin", "<u2")
    assert tokens.tolist() == [256, 97, 98, 256, 256, 99, 256]
    assert np.fromfile(tmp_path / "t" / "tokens.index", "<u8").tolist() == [4, 7]
    assert np.fromfile(tmp_path / "t" / "tokens.loss", np.bool_).tolist() == [
        False,
        True,
        True,
        True,
        False,
        True,
        True,
    ]
    names = pq.read_table(tmp_path / "t" / "documents.parquet").to_pylist()
    assert names[1] == {"id": "b", "source": "s", "start": 4}


def test_large_vocabularies_get_four_bytes(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, Letters(70_000)) as writer:
        writer.add([69_999, 1], [True, True], id="a", source="s")
        shards = writer.close()
    assert shards.facts["dtype"] == "uint32"
    assert shards.tokens(0).tolist() == [69_999, 1]
    with ShardWriter(tmp_path / "n", Letters(65_536)) as writer:
        writer.add([65_535], [True], id="a", source="s")
        assert writer.close().facts["dtype"] == "uint16"


def test_nothing_and_half_a_file(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "e", Letters()) as writer:
        assert writer.close().total_tokens == 0
    with pytest.raises(InputError, match="no token shards"):
        Shards(tmp_path / "nowhere")
    write_shards(write_corpus(tmp_path / "c", {"a": "whale"}), tmp_path / "t", Letters())
    data = (tmp_path / "t" / "tokens.bin").read_bytes()
    (tmp_path / "t" / "tokens.bin").write_bytes(data[:-2])
    with pytest.raises(CorruptError, match=r"tokens\.bin"):
        Shards(tmp_path / "t")


def test_another_tokenizer_has_another_fingerprint() -> None:
    assert fingerprint(Letters()) == fingerprint(Letters())
    assert fingerprint(Letters()) != fingerprint(Letters(301))


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'validation'"):
        write_shards(tmp_path, tmp_path / "t", Letters(), split="validation")
