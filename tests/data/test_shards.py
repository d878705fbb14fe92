from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.chat import Message
from lamina.contracts.corpus import DOCUMENTS
from lamina.contracts.tokens import Rendered
from lamina.data import shard_units
from lamina.data import shards as shards_module
from lamina.data.shards import Shards, ShardWriter, fingerprint, write_shards
from lamina.data.tokenizer.train import train_tokenizer
from lamina.kit.errors import CorruptError, InputError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer


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


WORDS = [
    *("The", "whale", "and", "the", "ship", "went", "to", "the", "island", "where", "the", "keeper"),
    *("of", "the", "lighthouse", "saw", "them", "at", "night"),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(write_corpus(folder / "c", {"a": " ".join(WORDS) * 3}), folder / "t", vocabulary=330)
    return open_tokenizer(folder / "t")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in 12 row groups of two files; some empty, one missing, two sources."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "data").mkdir()
    for file in range(2):
        texts = [" ".join(WORDS[n % 7 : n % 17]) + f" {n * file} 日本" for n in range(90)]
        rows = [
            {"id": f"{file}-{n}", "text": None if n == 40 else text, "source": "ab"[n % 2], "split": "train"}
            for n, text in enumerate(texts)
        ]
        table = pa.Table.from_pylist(rows, schema=DOCUMENTS)
        pq.write_table(table, folder / "data" / f"train-0000{file}-of-00002.parquet", row_group_size=16)
    return folder


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_units, "BYTES", 1)  # one row group a unit


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def by_hand(corpus: Path, folder: Path, tokenizer: ModelTokenizer) -> dict[str, bytes]:
    """One document after another, each tokenized by itself."""
    end = tokenizer.end_ids[0]
    with ShardWriter(folder, tokenizer, split="train", start=end, end=end) as writer:
        for file in sorted((corpus / "data").glob("train-*.parquet")):
            for row in pq.read_table(file).to_pylist():
                ids = [end, *tokenizer.encode(row["text"] or ""), end]
                writer.add(ids, [n > 0 for n in range(len(ids))], id=row["id"], source=row["source"])
        writer.close()
    return contents(folder)


def test_any_number_of_workers_gives_the_same_bytes(
    tmp_path: Path, large: Path, tokenizer: ModelTokenizer, small_units: None
) -> None:
    expected = by_hand(large, tmp_path / "hand", tokenizer)
    assert set(expected) == {"tokens.bin", "tokens.loss", "tokens.index", "tokens.json", "documents.parquet"}
    for workers in (1, 3):
        shards = write_shards(large, tmp_path / str(workers), tokenizer, workers=workers)
        assert shards.documents == 180
        assert contents(tmp_path / str(workers)) == expected
    write_shards(large, tmp_path / "kept", tokenizer, workers=2, work=tmp_path / "work")
    assert contents(tmp_path / "kept") == expected
    assert not list((tmp_path / "work").iterdir()), "what is done leaves nothing behind"


def test_a_killed_run_goes_on_with_the_units_that_are_not_done(
    tmp_path: Path, large: Path, tokenizer: ModelTokenizer, small_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path; from lamina.data import shard_units; shard_units.BYTES = 1\n"
        "from lamina.data.shards import write_shards; from lamina.kit.tokenizer import open_tokenizer\n"
        "corpus, out, tokenizer, work = map(Path, sys.argv[1:])\n"
        "write_shards(corpus, out, open_tokenizer(tokenizer), workers=2, work=work)"
    )
    work = tmp_path / "work"
    places = [str(large), str(tmp_path / "killed"), str(tokenizer.folder), str(work)]
    child = subprocess.Popen([sys.executable, "-c", code, *places])
    try:
        until = time.monotonic() + 60
        while not list(work.glob("*/00001/manifest.json")) and child.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
    finally:
        child.kill()
        child.wait()
    whole = "[0-9]" * 5 + "/manifest.json"  # a killed worker may have sealed a unit that it did not put into its place
    done = {p: p.stat().st_ino for p in work.glob(f"*/{whole}")}
    if child.returncode == 0:
        pytest.skip("the run was faster than the kill")
    assert done
    kept: list[Path] = []
    monkeypatch.setattr(shards_module.shutil, "rmtree", lambda path, **_: kept.append(path))
    write_shards(large, tmp_path / "resumed", tokenizer, workers=2, work=work)
    assert contents(tmp_path / "resumed") == by_hand(large, tmp_path / "hand", tokenizer)
    assert [path for path, inode in done.items() if path.stat().st_ino != inode] == []
    assert len(list(kept[0].glob(whole))) == 12


def test_units_are_of_row_groups_and_depend_on_the_files_alone(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((large / "data").iterdir())
    assert [u["rows"] for u in shard_units.token_units(files)] == [90, 90]
    facts = pq.read_metadata(files[0])
    size = max(facts.row_group(g).total_byte_size for g in range(facts.num_row_groups))
    monkeypatch.setattr(shard_units, "BYTES", size + 1)
    units = shard_units.token_units(files)
    assert [(u["begin"], u["end"]) for u in units[:3]] == [(0, 2), (2, 4), (4, 6)]
    assert sum(u["rows"] for u in units) == 180


def test_names_of_documents_are_written_in_groups(
    tmp_path: Path, large: Path, tokenizer: ModelTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "_ROWS", 50)
    write_shards(large, tmp_path / "t", tokenizer)
    facts = pq.read_metadata(tmp_path / "t" / "documents.parquet")
    assert [facts.row_group(g).num_rows for g in range(facts.num_row_groups)] == [50, 50, 50, 30]
    ids = pq.read_table(tmp_path / "t" / "documents.parquet").column("id").to_pylist()
    assert ids == [f"{file}-{n}" for file in range(2) for n in range(90)]


def test_documents_of_a_bert_stand_between_its_edges(tmp_path: Path, large: Path) -> None:
    train_tokenizer(large, tmp_path / "t", use="wordpiece", vocabulary=400)
    bert = open_tokenizer(tmp_path / "t")
    shards = write_shards(large, tmp_path / "s", bert)
    first, last = bert.id_of("[CLS]"), bert.id_of("[SEP]")
    assert shards.tokens(3).tolist() == bert.framed(pq.read_table(large / "data")["text"][3].as_py()).ids
    assert (shards.facts["start"], shards.facts["end"]) == (first, last)
