from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.replay import write_replay, write_rows
from lamina.data.shards import Shards
from lamina.data.tokenizer.train import train_tokenizer
from lamina.kit.prompts import grounded_system
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer

NAMES = ("Skerry Light", "Gull Rock", "Pendower", "Black Head", "Saint Anne")


def corpus(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "data").mkdir(parents=True)
    table = pa.Table.from_pylist([{"source": "s", "split": "train"} | row for row in rows], schema=DOCUMENTS)
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    return folder


def article(name: str) -> dict[str, Any]:
    return {"id": name, "title": name, "text": f"{name} is the oldest lighthouse of its county. It was built of stone."}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = tmp_path_factory.mktemp("bpe")
    train_tokenizer(corpus(folder / "c", [article(n) for n in NAMES]), folder / "t", vocabulary=300)
    return open_tokenizer(folder / "t")


def shown(shards: Shards, tokenizer: ModelTokenizer) -> list[tuple[str, str]]:
    """(what is read, what is learned) of each row, as text; the end token as ▮."""
    rows = []
    for i in range(shards.documents):
        ids, marks = shards.tokens(i).tolist(), shards.learned(i).tolist()
        words = ["▮" if t == 2 else tokenizer.decode([t]) for t in ids]
        rows.append(
            tuple("".join(w for w, m in zip(words, marks, strict=True) if m is wanted) for wanted in (False, True))
        )
    return rows


def test_questions_and_passages_from_documents(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    shards = write_replay(corpus(tmp_path / "c", [article(n) for n in NAMES]), tmp_path / "r", tokenizer)
    rows = shown(shards, tokenizer)
    assert len(rows) == 10
    plain = [row for row in rows if "passages" not in row[0]]
    grounded = [row for row in rows if "passages" in row[0]]
    assert len(plain) == len(grounded) == 5
    assert all(learned.endswith("stone.▮") for _, learned in plain)
    assert all(learned.endswith("county.▮") for _, learned in grounded)
    assert all("What is the oldest lighthouse of its county?" in read for read, _ in grounded)
    assert any("[2]" in read for read, _ in grounded)  # other documents keep it company


def test_the_words_of_the_prompt_are_those_of_serving(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    row = article("Gull Rock")
    shards = write_replay(corpus(tmp_path / "c", [row]), tmp_path / "r", tokenizer)
    assert grounded_system([(1, row["title"], row["text"])]) in shown(shards, tokenizer)[1][0]


def test_conversations_are_retold_and_only_answers_are_learned(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi there"}]
    rows = [{"id": "t", "text": "hello\nhi there", "meta": json.dumps({"messages": turns})}]
    shards = write_replay(corpus(tmp_path / "c", rows), tmp_path / "r", tokenizer)
    ((read, learned),) = shown(shards, tokenizer)
    assert learned == "hi there▮"
    assert "hello" in read


def test_without_titles_texts_are_gone_on_with(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    rows = [
        {"id": "t", "text": "The lamp was lit at dusk. Nobody saw it."},
        {"id": "u", "text": "One.", "meta": "broken"},
    ]
    shards = write_replay(corpus(tmp_path / "c", rows), tmp_path / "r", tokenizer)
    assert [learned for _, learned in shown(shards, tokenizer)] == ["Nobody saw it.▮"]


def test_the_limit_holds_and_seeds_choose(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    place = corpus(tmp_path / "c", [article(f"{n} {i}") for n in NAMES for i in range(6)])
    digests = [
        write_replay(place, tmp_path / f"r{n}", tokenizer, seed=seed, limit=8).digest
        for n, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert Shards(tmp_path / "r0").documents == 8


def test_augmented_children_give_no_rows_and_no_context(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    rows = [article(name) for name in NAMES]
    children = [
        {**row, "id": f"child {n}", "parent_id": row["id"], "text": row["text"].replace("lighthouse", "lighthuose")}
        for n, row in enumerate(rows)
    ]
    plain = write_replay(corpus(tmp_path / "plain", rows), tmp_path / "p", tokenizer)
    augmented = write_replay(corpus(tmp_path / "augmented", [*children, *rows]), tmp_path / "a", tokenizer)
    assert shown(augmented, tokenizer) == shown(plain, tokenizer)
    assert "lighthuose" not in str(shown(augmented, tokenizer))


def test_rows_learn_the_completion_alone(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    prompt = [
        {"role": "user", "content": "the lamp"},
        {"role": "assistant", "content": "was wrong"},
        {"role": "user", "content": "again"},
    ]
    rows = [(prompt, [{"role": "assistant", "content": "is right"}]), (prompt[:1], [])]
    shards = write_rows(iter(rows), tmp_path / "r", tokenizer)
    ((read, learned),) = shown(shards, tokenizer)
    assert learned == "is right▮"
    assert "was wrong" in read


def test_an_empty_corpus_gives_no_rows(tmp_path: Path, tokenizer: ModelTokenizer) -> None:
    assert write_replay(tmp_path, tmp_path / "r", tokenizer).documents == 0
