from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data import corpus_files, units
from lamina.data.forget import Gone, Wanted, gone, select
from lamina.data.forget_files import derive
from lamina.data.forget_shards import lessened, splice
from lamina.data.forgetting import History
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.shards import Shards, write_shards
from lamina.data.tombstones import Tombstones
from lamina.kit.durable import publish
from lamina.kit.errors import InputError
from lamina.kit.progress import open_progress
from lamina.kit.registry import SOURCES

WORDS = [f"w{i}" for i in range(3000)]
NAMES = ("id", "text", "author", "url", "parent_id")
STEPS: list[dict[str, Any]] = [
    {"transform": "normalize"},
    {"signal": "quality"},
    {"decide": "words >= 10", "reason": "short"},
    {"transform": "pii"},
    {"pass": "duplicates", "index": True, "plant": 10},
    {"decide": "mean_word_length < 20", "reason": "long words"},
]


@SOURCES("rows-to-forget")
def read_rows(inbox: Inbox) -> Iterator[pa.RecordBatch]:
    """A document for each line."""
    for file in inbox.files:
        found = [json.loads(line) for line in file.path.read_text().splitlines()]
        yield pa.RecordBatch.from_pylist([{n: row.get(n) for n in NAMES} for row in found])
        inbox.report.read(file.name)


def prose(seed: int, words: int = 80) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def rows() -> list[dict[str, Any]]:
    made = [
        {"id": f"doc-{i:02d}", "text": f"{prose(i)}.", "author": f"Person {i}", "url": f"https://a.org/{i}"}
        for i in range(40)
    ]
    made[5] |= {"author": "Jane Doe", "text": f"{prose(5)} unmistakable quokka  words."}
    made += [
        {"id": "copy-of-5", "text": f"{prose(5)} unmistakable quokka words.", "author": "Thief", "url": "u/copy"},
        {"id": "child-of-5", "text": prose(500), "parent_id": "doc-05"},
        {"id": "grandchild", "text": prose(501), "parent_id": "child-of-5"},
        {"id": "jane-short", "text": "I am short, wrote jane@doe.example.", "author": "Jane Doe", "url": "u/short"},
        {"id": "jane-mail", "text": f"{prose(60)} jane@doe.example  or +44 20 7946 0958", "author": "Jane Doe"},
        {"id": "fell-to-7", "text": f"{prose(7)}", "author": "Jane Doe", "url": "u/fell"},
    ]
    return made


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(corpus_files, "_FILE_BYTES", 1)  # a file for each unit: there are files to keep
    monkeypatch.setattr(units, "LEAST", 8)
    made = 0

    def run(rows: list[dict[str, Any]], history: History | None = None, source: str = "papers") -> Path:
        nonlocal made
        made += 1
        files = []
        for number in range(0, len(rows), 10):
            path = tmp_path / f"{source}-{made}-{number}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows[number : number + 10]))
            files.append(SourceFile(name=path.name, path=path))
        sources = [
            SourceInput(name=f"{source}{n}", use="rows-to-forget", files=(file,), license="MIT")
            for n, file in enumerate(files)
        ]
        corpus = tmp_path / f"corpus-{made}"
        with publish(corpus) as staging:
            build_corpus(
                staging,
                tmp_path / f"work-{made}",
                sources=sources,
                steps=STEPS,
                held_out=0.2,
                progress=open_progress("quiet"),
                workers=1,
                history=history,
            )
        return corpus

    return run


def documents(corpus: Path) -> dict[str, dict[str, Any]]:
    return {r["id"]: r for f in sorted((corpus / "data").glob("*.parquet")) for r in pq.read_table(f).to_pylist()}


def everything(corpus: Path) -> str:
    """All that a corpus says, unpacked."""
    said = [path.read_text() for path in corpus.rglob("*") if path.suffix in (".json", ".jsonl", ".md")]
    said += [json.dumps(pq.read_table(p).to_pylist(), default=str) for p in corpus.rglob("*.parquet")]
    return "\n".join(said)


def remove(corpus: Path, state: Path, wanted: Wanted) -> tuple[Gone, Path]:
    stones = Tombstones(state)
    stones.add(select(corpus, wanted).draft, id=f"r{len(stones.removals)}", reason="asked")
    what = gone(corpus, state, str(stones.digest))
    less = corpus.with_name(f"{corpus.name}-less")
    with publish(less) as staging:
        derive(corpus, staging, what)
    return what, less


def history(state: Path) -> History:
    return History(state=state, tombstones=Tombstones(state).digest)


def test_an_author_goes_with_copies_descendants_and_traces_and_nothing_else_does(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    there = documents(corpus)
    assert {"copy-of-5", "doc-05"} & there.keys()  # one of the two fell to the other
    assert "fell-to-7" not in there
    assert "doc-07" in there
    what, less = remove(corpus, tmp_path / "state", Wanted(authors=("jane DOE",)))
    ways = dict(what.rows.select("id", "how").iter_rows())
    kept_one = next(id for id in ("doc-05", "copy-of-5") if id in there)
    assert ways[kept_one] in ("named", "near copy")
    assert ways["jane-mail"] == "named"
    assert {ways["child-of-5"], ways["grandchild"]} <= {"descendant", "named"}
    assert ways["doc-07"] == "near copy"  # what she wrote fell to it: it stands for her text
    left = documents(less)
    assert left == {id: row for id, row in there.items() if id not in ways}
    said = everything(less)
    for trace in ("quokka", "jane", "Jane", "7946", "doc-05", "copy-of-5", "fell-to-7", "u/fell", "u/short"):
        assert trace in everything(corpus), trace
        assert trace not in said, trace


def test_files_without_them_are_the_same_bytes_under_a_second_name(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    _, less = remove(corpus, tmp_path / "state", Wanted(ids=("doc-12",)))
    same = {p.name for p in (less / "data").iterdir() if p.samefile(corpus / "data" / p.name)}
    holder = next(
        p.name for p in (corpus / "data").iterdir() if "doc-12" in pq.read_table(p, columns=["id"])["id"].to_pylist()
    )
    assert same == {p.name for p in (corpus / "data").iterdir()} - {holder}
    assert len(same) >= 3
    assert (less / "signals" / "steps.json").samefile(corpus / "signals" / "steps.json")
    before, after = (pq.read_table(c / "data" / holder) for c in (corpus, less))
    assert after.schema == before.schema
    assert after.num_rows == before.num_rows - 1


def test_report_and_cards_count_what_is_left(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    what, less = remove(corpus, tmp_path / "state", Wanted(sources=("papers1",)))
    before, after = (json.loads((c / "report.json").read_bytes()) for c in (corpus, less))
    left = documents(less)
    gone_ids = what.ids
    assert after["documents"] == len(left) == before["documents"] - len(gone_ids)
    assert after["train"] + after["held_out"] == after["documents"]
    assert after["sources"]["papers1"]["documents"] == 0
    assert after["characters"] == sum(len(r["text"]) for r in left.values())
    assert after["forgotten"] == len(gone_ids) >= 10
    assert after["licenses"] == {"MIT": len(left)}
    assert f"{len(left):,} documents" in (less / "README.md").read_text()
    files = {e["@id"]: e for e in json.loads((less / "croissant.json").read_bytes())["distribution"]}
    assert {name for name in files if name.endswith(".parquet")} == {
        f"data/{p.name}" for p in (less / "data").iterdir()
    }


def test_a_build_from_the_sources_gives_what_was_derived(build: Any, tmp_path: Path) -> None:
    told = [row for row in rows() if row["id"] != "grandchild"]
    corpus = build(told)
    state = tmp_path / "state"
    what, less = remove(corpus, state, Wanted(authors=("Jane Doe",), ids=("doc-20",)))
    again = build(told, history(state))
    drop = ("collected", "duplicates", "split")  # when it was read; what fell to it; two splits never change one
    trimmed = [
        {id: {k: v for k, v in row.items() if k not in drop} for id, row in documents(c).items()} for c in (less, again)
    ]
    assert trimmed[0] == trimmed[1]
    said = everything(again)
    assert "quokka" not in said
    assert "jane" not in said.lower()
    assert json.loads((again / "report.json").read_bytes())["forgotten"] >= len(what.ids) - 2


def test_a_near_copy_in_a_new_source_stays_out_and_its_neighbours_stay_in(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    state = tmp_path / "state"
    remove(corpus, state, Wanted(ids=("doc-09",)))
    words = prose(9).split()
    words[30] = "changed"
    news = [
        {"id": "new-copy", "text": " ".join(words).upper() + "!", "author": "Somebody"},
        {"id": "new-half", "text": " ".join([*words[:40], prose(900, 40)])},
        {"id": "new-other", "text": prose(901)},
    ]
    again = build(news, history(state), source="news")
    assert set(documents(again)) == {"new-half", "new-other"}
    assert "new-copy" not in everything(again)


def test_words_of_a_text_name_it_but_are_not_kept(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    wanted = Wanted(texts=("unmistakable   quokka words",))
    found = select(corpus, wanted)
    assert len(found.kept) == 1
    assert found.draft.keys["id"] >= found.kept
    with pytest.raises(InputError, match="too short"):
        select(corpus, Wanted(texts=("quokka",)))


def test_a_dropped_document_is_found_by_its_address_and_leaves_no_trace(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    found = select(corpus, Wanted(urls=("u/short",)))
    assert (found.kept, found.dropped) == (set(), {"jane-short"})
    what, less = remove(corpus, tmp_path / "state", Wanted(urls=("u/short",)))
    assert what.rows.height == 0
    assert what.traces == {"jane-short"}
    assert "I am short" in everything(corpus)
    assert "I am short" not in everything(less)


def test_authors_under_the_pseudonyms_that_sources_gave(build: Any) -> None:
    from lamina.kit.identity import blake3_hex

    name = f"person-{blake3_hex('pepper', 'ann@host')[:10]}"
    corpus = build([*rows()[:12], {"id": "toot", "text": prose(77), "author": name}])
    assert select(corpus, Wanted(authors=("ann@host",), salts=("pepper",))).kept == {"toot"}
    assert select(corpus, Wanted(authors=("ann@host",), salts=("salt",))).kept == set()


class Letters:
    vocabulary, end_ids = 300, (0,)

    def encode(self, text: str) -> list[int]:
        return [1 + b for b in text.encode()]

    def encode_batch(self, texts: Any) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Any) -> str:
        return bytes(i - 1 for i in ids).decode()

    def render(self, messages: Any, *, open_answer: bool = False) -> Any:
        raise AssertionError


def test_shards_without_documents_are_those_of_the_corpus_without_them(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    what, less = remove(corpus, tmp_path / "state", Wanted(ids=("doc-12", "doc-13", "doc-00", "doc-39")))
    whole = write_shards(corpus, tmp_path / "whole", Letters()).path
    anew = write_shards(less, tmp_path / "anew", Letters())
    count = splice(whole, tmp_path / "spliced", what.traces)
    assert count == sum(row["split"] == "train" for row in what.rows.iter_rows(named=True)) > 0
    for path in anew.path.iterdir():
        assert path.read_bytes() == (tmp_path / "spliced" / path.name).read_bytes(), path.name
    made = lessened(whole, less, tmp_path / "lessened", Letters())
    assert made is not None
    assert made.digest == anew.digest == Shards(tmp_path / "spliced").digest
    assert lessened(anew.path, corpus, tmp_path / "no", Letters()) is None  # it lacks documents

    class Others(Letters):
        vocabulary = 301

    assert lessened(whole, less, tmp_path / "no", Others()) is None
    assert splice(whole, tmp_path / "none", set(documents(corpus))) == whole_count(whole)
    assert Shards(tmp_path / "none").total_tokens == 0


def whole_count(shards: Path) -> int:
    return int(pq.read_metadata(shards / "documents.parquet").num_rows)


def test_the_index_of_duplicates_follows(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    _, less = remove(corpus, tmp_path / "state", Wanted(ids=("doc-12",)))
    ids = [pq.read_table(c / "indexes" / "duplicates" / "documents.parquet")["id"].to_pylist() for c in (corpus, less)]
    assert sorted(set(ids[0]) - set(ids[1])) == ["doc-12"]
    copy = [{"id": "x", "text": prose(12)}, {"id": "y", "text": prose(13)}]
    again = build(copy, History(earlier=less), source="later")
    report = json.loads((again / "report.json").read_bytes())
    assert report["passes"]["05 pass duplicates"]["sketches_reused"] == 0  # texts have a full stop more there
    assert set(documents(again)) == {"x", "y"}


def test_nothing_left_is_said(build: Any, tmp_path: Path) -> None:
    corpus = build(rows())
    with pytest.raises(InputError, match="no document is left"):
        remove(corpus, tmp_path / "state", Wanted(sources=tuple(f"papers{n}" for n in range(5))))
