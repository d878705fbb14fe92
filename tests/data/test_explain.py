from __future__ import annotations

import json
import runpy
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.explain import explain, whereis
from lamina.data.explain_words import describe
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.shards import ShardWriter
from lamina.kit.errors import InputError, NotFoundError
from lamina.kit.progress import open_progress

PROSE = "The whale rose slowly beside the boat and the men held their breath while the old captain watched the water."
LONG = (
    "Salt and rope and canvas are what a ship is made of, said the sailor to the boy on the quay, while the gulls"
    " went round and round above the harbour and an old dog slept in the shade of the fish market until the bells of"
    " the small white church on the hill behind the town called all of them home for supper at six o'clock"
)
STEPS: list[dict[str, Any]] = [
    {"transform": "normalize"},
    {"signal": "quality"},
    {"decide": "words >= 10", "reason": "short"},
    {"decide": "mean_word_length <= 6", "reason": "long words"},
    {"transform": "pii"},
    {"pass": "duplicates", "threshold": 0.8},
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    texts = {
        "kept.txt": f"{PROSE} Write to jo@ship.org  today.",
        "copy.txt": f"{PROSE} Write to jo@ship.org today.",
        "short.txt": "Too short to stay.",
        "long.txt": "incomprehensibilities " * 12,
        "other.txt": f"{LONG} every day and night.",
        "near.txt": LONG.replace("rope", "bread"),
    }
    files = []
    for name, text in texts.items():
        (folder / name).write_text(text)
        files.append(SourceFile(name=name, path=folder / name))
    out = folder / "corpus"
    out.mkdir()
    source = SourceInput(name="notes", use="files", files=tuple(files), license="MIT")
    build_corpus(out, folder / "work", sources=[source], steps=STEPS, held_out=0.0, progress=open_progress("quiet"))
    return out


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    rows = [
        {"text": f"{PROSE} Write to jo.harpoon@ship.org today.", "url": "https://harbour.example/", "author": "Jo"},
        {"text": "Too short.", "url": "https://harbour.example/lost?b=2&a=1", "author": "Jo"},
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = folder / "corpus"
    out.mkdir()
    source = SourceInput(name="web", use="files", files=(SourceFile(name="rows.jsonl", path=folder / "rows.jsonl"),))
    build_corpus(out, folder / "work", sources=[source], steps=STEPS, held_out=0.0, progress=open_progress("quiet"))
    return out


def test_a_kept_document_by_its_address_shows_rules_edits_and_who_fell_for_it(corpus: Path) -> None:
    found = explain(corpus, "kept.txt")
    words = describe(found)
    if not found.kept:  # which of the two is kept is the pass's choice
        found = explain(corpus, "copy.txt")
        words = describe(found)
    assert found.kept
    assert found.facts["license"] == "MIT"
    assert [r["verdict"] for r in found.rules] == ["passes", "passes"]
    edits = [e for e in found.ledger if e["step"].endswith("pii")]
    assert '"found":{"email":1}' in edits[0]["detail"]
    assert "'jo' -> 'email'" in words
    assert [d["relation"] for d in found.duplicates] == ["took in"]
    other = explain(corpus, found.duplicates[0]["id"])
    assert not other.kept
    assert other.duplicates[0]["id"] == found.id
    assert "folded into" in describe(other)


def test_a_dropped_document_by_words_of_its_text(corpus: Path) -> None:
    found = explain(corpus, "Too short  to stay")
    assert (found.kept, found.text) == (False, "Too short to stay.")
    assert [(r["reason"], r["verdict"]) for r in found.rules] == [("short", "fails"), ("long words", "passes")]
    assert "decide short: drop" in describe(found)


def test_a_duplicate_stands_beside_its_keeper_word_by_word(corpus: Path) -> None:
    fell = explain(corpus, "near.txt")
    assert fell.duplicates[0]["relation"] == "folded into"
    texts = fell.duplicates[0]["texts"]
    changed = [(part["this"], part["other"]) for part in texts["stretches"] if "this" in part]
    assert changed == [("bread", "rope"), ("", "every day and night.")]
    words = describe(fell)
    assert "this   bread\n      other  rope" in words
    assert "both   Salt and" in words
    keeper = explain(corpus, fell.duplicates[0]["id"])
    assert {"both", "this", "other"} >= set(keeper.duplicates[0]["texts"]["stretches"][1])
    assert "the same words" in describe(explain(corpus, "copy.txt"))


def test_dropped_documents_are_found_by_any_spelling_of_their_address(pages: Path) -> None:
    for address in (
        "https://harbour.example/lost?b=2&a=1",
        "http://Harbour.example/lost/?a=1&utm_source=x&b=2#top",
        "https://harbour.example/lost?a=1&b=2",
    ):
        found = explain(pages, address)
        assert (found.kept, found.text, found.facts["author"]) == (False, "Too short.", "Jo")
        assert found.facts["url"] == "https://harbour.example/lost?b=2&a=1"
    assert explain(pages, "lost?b=2&a=1").id == found.id
    kept = explain(pages, "http://harbour.example#top")
    assert kept.kept
    assert kept.facts["file"] == "data/train-00000-of-00001.parquet"
    with pytest.raises(NotFoundError, match="no document"):
        explain(pages, "https://harbour.example/los")


def test_words_are_found_whatever_their_case_and_signs_and_where_an_edit_took_them(pages: Path, tmp_path: Path) -> None:
    found = explain(pages, "the WHALE (rose), slowly")
    assert found.facts["url"] == "https://harbour.example/"
    copied = shutil.copytree(pages, tmp_path / "corpus")
    took = {"characters": [50, 9], "spans": [[9, 50, 'Subscribe to "our"\nletter, please', ""]]}
    row = {"id": found.id, "step": "cut", "action": "edit", "reason": "text", "detail": json.dumps(took)}
    ledger = pq.read_table(copied / "ledger.parquet")
    pq.write_table(pa.concat_tables([ledger, pa.Table.from_pylist([row], ledger.schema)]), copied / "ledger.parquet")
    assert explain(copied, 'Subscribe to "our" letter, please').id == found.id
    with pytest.raises(NotFoundError, match="no document"):
        explain(pages, "(((((((((((((((((())))))))))))))))))")


def test_what_is_known_of_a_page_that_was_not_read_or_a_text_that_was_not_kept(pages: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(pages, tmp_path / "corpus")
    (copied / "unread.jsonl").write_text(
        '{"source": "web", "name": "https://harbour.example/gone", "reason": "404 Not Found"}\n'
    )
    with pytest.raises(NotFoundError, match="was not read: 404 Not Found"):
        explain(copied, "http://harbour.example/gone#x")
    empty = pq.read_table(copied / "dropped.parquet").slice(0, 0)
    pq.write_table(empty, copied / "dropped.parquet")
    with pytest.raises(NotFoundError, match="of 1 dropped documents the texts of 0 are kept"):
        explain(copied, "Too short. And more")
    found = explain(copied, "https://harbour.example/lost?a=1&b=2")
    assert found.text == ""
    assert "its text is not kept" in describe(found)


def test_every_signal_is_told_those_that_no_rule_names_too(corpus: Path) -> None:
    found = explain(corpus, "other.txt")
    words = describe(found)
    assert all(f"{name} = " in words for name in found.signals)
    assert {"words", "mean_word_length", "stop_words"} <= set(found.signals)


def test_an_answer_takes_half_a_second_at_most_of_twenty_five_thousand_documents(tmp_path: Path) -> None:
    """Which is two seconds of a hundred thousand: ``benchmarks/data_explain.py`` measures that many."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "data_explain.py"
    made = runpy.run_path(str(script))
    made["write_corpus"](tmp_path / "corpus", 25_000)
    begin = time.process_time()
    seconds = made["measure"](tmp_path / "corpus", 25_000)
    assert (time.process_time() - begin) / len(seconds) < 0.5, seconds  # of processors: the machine may be busy


def test_what_is_not_there_is_said(corpus: Path) -> None:
    with pytest.raises(NotFoundError, match="no document"):
        explain(corpus, "words that nobody ever wrote (at all)?")


class Letters:
    vocabulary, end_ids = 256, (0,)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: Any) -> list[list[int]]:
        return [self.encode(t) for t in texts]

    def decode(self, ids: Any) -> str:
        return bytes(ids).decode()

    def render(self, messages: Any, *, open_answer: bool = False) -> Any:
        raise AssertionError


def test_a_token_leads_back_to_its_document(corpus: Path, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, Letters()) as writer:
        writer.add([1, 2, 3], [True] * 3, id="a", source="s")
        writer.add([4, 5], [True] * 2, id="b", source="s")
        writer.close()
    assert [whereis(tmp_path, n) for n in range(5)] == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]
    with pytest.raises(InputError, match="the shards have 5"):
        whereis(tmp_path, 5)


def test_a_long_passage_that_was_pasted_is_found_by_its_beginning(corpus: Path) -> None:
    row = max(pq.read_table(corpus / "data").to_pylist(), key=lambda row: len(row["text"]))
    assert explain(corpus, row["text"] + " and words that no document has" * 300).id == row["id"]
