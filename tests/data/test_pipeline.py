from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS, LEDGER, Inbox, SourceFile
from lamina.data.pipeline import DEFAULT_STEPS, SourceInput, build_corpus
from lamina.data.report import describe
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import open_progress
from lamina.kit.registry import SOURCES

READS: list[str] = []
BROKEN: set[str] = set()  # sources that fail while they are read


@SOURCES("lines-for-tests")
def lines(inbox: Inbox, *, limit: int | None = None) -> Iterator[pa.RecordBatch]:
    """A document for each line; a file named bad* is not read."""
    READS.append(inbox.source)
    if inbox.source in BROKEN:
        raise OSError("killed here")
    for file in inbox.files[:limit]:
        if file.name.startswith("bad"):
            inbox.report.unread(file.name, "not text")
            continue
        rows = [json.loads(line) for line in file.path.read_text().splitlines()]
        names = list(dict.fromkeys(key for row in rows for key in row))
        yield pa.RecordBatch.from_pylist([{n: r.get(n) for n in names} for r in rows])
        inbox.report.read(file.name)


def essay(i: int) -> str:
    """A text like prose that shares no five words with another."""
    draw = random.Random(i)
    nouns = [f"{w}{i}" for w in ("sail", "net", "rope", "mast", "gull", "tide", "crew", "salt", "storm", "light")]
    glue = ["the", "of", "and", "to", "with", "have", "that", "seen", "under", "near", "slowly", "again", "our", "old"]
    return " ".join(draw.choice(nouns if n % 2 else glue) for n in range(90)) + "."


@pytest.fixture
def build(tmp_path: Path) -> Any:
    def run(rows: dict[str, list[dict[str, Any]]], steps: Any = (), held_out: float = 0.2, **more: Any) -> Path:
        sources = []
        for name, content in rows.items():
            file = tmp_path / f"{name}.jsonl"
            text = "".join(json.dumps(row) + "\n" for row in content)
            if not file.exists():  # its time is part of what a source is known by
                file.write_text(text)
            files = (SourceFile(name=f"{name}.jsonl", path=file), *more.get("files", ()))
            source = SourceInput(
                name=name, use="lines-for-tests", files=files, license="MIT", parameters=more.get("parameters", {})
            )
            sources.append(source)
        staging = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        staging.mkdir()
        build_corpus(
            staging, tmp_path / "work", sources=sources, steps=steps, held_out=held_out, progress=open_progress("quiet")
        )
        return staging

    return run


def documents(corpus: Path, split: str = "*") -> list[dict[str, Any]]:
    return [r for f in sorted((corpus / "data").glob(f"{split}-*.parquet")) for r in pq.read_table(f).to_pylist()]


def ledger(corpus: Path) -> list[dict[str, Any]]:
    table = pq.read_table(corpus / "ledger.parquet")
    assert table.schema == LEDGER
    return table.to_pylist()


def test_documents_go_through_every_kind_of_step(build: Any) -> None:
    rows = [{"id": f"d{i}", "text": essay(i)} for i in range(20)]
    rows += [{"id": "copy", "text": essay(3) + " indeed"}, {"id": "short", "text": "hm"}, {"id": "none", "text": None}]
    rows += [{"id": "mail", "text": "Heading\n\n" + essay(50) + "  write to a@b.org"}]
    corpus = build({"papers": rows}, DEFAULT_STEPS)
    found = {r["id"]: r for r in documents(corpus)}
    assert set(found) == {f"d{i}" for i in range(20) if i != 3} | {"copy", "mail"}
    assert found["mail"]["text"].endswith("write to email@example.com")
    assert found["mail"]["title"] == "Heading"
    assert found["mail"]["license"] == "MIT"
    assert found["mail"]["language"] == "en"
    assert found["copy"]["duplicates"] == 1
    entries = {(e["id"], e["action"], e["reason"]) for e in ledger(corpus)}
    assert ("d3", "duplicate", "near duplicate") in entries
    assert ("short", "drop", "too short") in entries
    assert ("none", "drop", "no text") in entries
    assert ("mail", "impute", "title") in entries
    edit = next(e for e in ledger(corpus) if e["id"] == "mail" and e["step"].endswith("pii"))
    assert json.loads(edit["detail"])["found"] == {"email": 1}
    evidence = next(e for e in ledger(corpus) if e["action"] == "duplicate")
    assert json.loads(evidence["detail"])["keeper"] == "copy"
    assert float(evidence["value"]) >= float(evidence["threshold"]) == 0.8


def test_files_splits_and_schema(build: Any) -> None:
    corpus = build({"papers": [{"id": f"d{i}", "text": essay(i)} for i in range(60)]}, DEFAULT_STEPS)
    names = sorted(p.name for p in (corpus / "data").iterdir())
    assert names == ["held_out-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    schema = pq.read_schema(corpus / "data" / names[0])
    assert [schema.field(f.name) for f in DOCUMENTS] == list(DOCUMENTS)
    assert {"language_score", "words", "top_2_gram", "duplicate_cluster"} <= set(schema.names)
    assert {r["split"] for r in documents(corpus, "train")} == {"train"}
    assert {r["split"] for r in documents(corpus, "held_out")} == {"held-out"}
    assert 4 <= len(documents(corpus, "held_out")) <= 24


def test_report_and_card(build: Any, tmp_path: Path) -> None:
    bad = SourceFile(name="bad.epub", path=tmp_path / "bad.epub")
    corpus = build({"papers": [{"text": essay(i)} for i in range(4)] + [{"text": "x"}]}, DEFAULT_STEPS, files=(bad,))
    report = json.loads((corpus / "report.json").read_text())
    assert (report["files_read"], report["files_unread"], report["documents"]) == (1, 1, 4)
    assert report["sources"]["papers"]["dropped"] == {"too short": 1}
    assert report["licenses"] == {"MIT": 4}
    assert describe(report, corpus).splitlines()[-1] == "1 of 2 files read"
    unread = [json.loads(line) for line in (corpus / "unread.jsonl").read_text().splitlines()]
    assert unread == [{"source": "papers", "name": "bad.epub", "reason": "not text"}]
    card = (corpus / "README.md").read_text()
    assert card.startswith('---\nlicense:\n- "mit"\n')
    assert "    path: data/train-*.parquet" in card


def test_the_folder_loads_as_a_dataset(build: Any) -> None:
    load = pytest.importorskip("datasets").load_dataset
    corpus = build({"papers": [{"text": essay(i)} for i in range(9)]}, DEFAULT_STEPS)
    loaded = load(str(corpus), cache_dir=str(corpus / "cache"))
    assert set(loaded) == {"train", "held_out"}


def test_a_null_verdict_keeps_the_document_and_is_written_down(build: Any) -> None:
    rows = [{"id": "a", "text": essay(1), "author": "x"}, {"id": "b", "text": essay(2), "author": None}]
    rows.append({"id": "c", "text": essay(3), "author": "y"})
    corpus = build({"s": rows}, [{"decide": "author = 'x'", "reason": "by x"}], held_out=0)
    assert {r["id"] for r in documents(corpus)} == {"a", "b"}
    actions = {e["id"]: (e["action"], e["reason"], e["value"], e["threshold"]) for e in ledger(corpus)}
    assert actions["b"] == ("undecided", "by x", '{"author":null}', "author = 'x'")
    assert actions["c"] == ("drop", "by x", '{"author":"y"}', "author = 'x'")


def test_a_required_field_is_a_decide(build: Any) -> None:
    rows = [{"id": "a", "text": essay(1), "url": "https://a"}, {"id": "b", "text": essay(2)}]
    corpus = build({"s": rows}, [{"transform": "missing", "require": ["url"]}], held_out=0)
    assert [r["id"] for r in documents(corpus)] == ["a"]
    assert ("b", "no url") in {(e["id"], e["reason"]) for e in ledger(corpus) if e["action"] == "drop"}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"transform": "normalise"}, "did you mean 'normalize'"),
        ({"transform": "language"}, "there is no transform 'language'"),
        ({"transform": "normalize", "fomr": "NFC"}, "did you mean 'form'"),
        ({"transform": "normalize", "form": "ABC"}, "'ABC' is not one of"),
        ({"pass": "duplicates", "threshold": "high"}, "threshold"),
        ({"pass": "duplicates", "threshold": 80}, "80"),
        ({"signal": "language", "decide": "words > 3"}, "exactly one kind"),
        ({"decid": "words > 3"}, "did you mean 'decide'"),
        ({"decide": "wrods > 3"}, "no column 'wrods'"),
        ({"decide": "words > 3"}, "known columns: id, text"),
        ({"decide": "position >"}, "cannot be decided"),
        ({"decide": "position + 1"}, "not true or false"),
        ({"decide": "text > 3"}, "cannot be decided"),
        ({"decide": "COUNT(*) > 3"}, "one verdict for many"),
        ({"decide": "position > 1", "raeson": "x"}, "'raeson'"),
        ({"transform": "missing", "require": ["colour"]}, "'colour'"),
        ({"transform": "noise", "lines": ["("]}, "regular expression"),
    ],
)
def test_mistakes_are_found_before_any_work(build: Any, step: dict[str, Any], words: str) -> None:
    READS.clear()
    with pytest.raises(ConfigError) as caught:
        build({"s": [{"text": essay(1)}]}, [{"transform": "normalize"}, step])
    assert words in str(caught.value)
    assert READS == []


def test_wrong_sources_are_found_before_any_work(build: Any) -> None:
    with pytest.raises(ConfigError, match="no such key 'colour'"):
        build({"s": [{"text": "a"}]}, parameters={"colour": "red"})
    with pytest.raises(ConfigError, match="held_out"):
        build({"s": [{"text": "a"}]}, held_out=1.5)


def test_an_empty_corpus_says_what_became_of_it(build: Any, tmp_path: Path) -> None:
    steps = [{"decide": "author = 'x'", "reason": "by x"}]
    rows = [{"text": essay(i), "author": "y"} for i in range(3)]
    with pytest.raises(InputError, match="none of 4 documents is left: 3 by 'by x', 1 by 'no text'"):
        build({"s": [*rows, {"text": " "}]}, steps)
    with pytest.raises(InputError, match=r"could be read.*bad.pdf: not text"):
        build({"e": []}, [], files=(SourceFile(name="bad.pdf", path=tmp_path / "x"),))


def test_a_killed_run_goes_on_where_it_was(build: Any) -> None:
    rows = {"one": [{"id": "a", "text": essay(1)}], "two": [{"id": "b", "text": essay(2)}]}
    READS.clear()
    BROKEN.add("two")
    with pytest.raises(OSError, match="killed here"):
        build(rows, [{"transform": "normalize"}])
    BROKEN.clear()
    assert READS == ["one", "two"]
    first = build(rows, [{"transform": "normalize"}])
    assert READS == ["one", "two", "two"]  # "one" was collected before
    second = build(rows, [{"transform": "normalize"}])
    assert documents(first) == documents(second)
    build(rows, [{"transform": "noise"}])
    assert READS == ["one", "two", "two"]  # other steps, the same sources


def test_an_id_given_twice_loses_nothing(build: Any) -> None:
    rows = [{"id": "a", "text": essay(1)}, {"id": "a", "text": essay(2)}, {"id": "a", "text": essay(1)}]
    rows += [{"id": "a", "text": essay(2)}]
    corpus = build({"s": rows}, [], held_out=0)
    texts = [r["text"] for r in documents(corpus)]
    assert sorted(texts) == sorted([essay(1), essay(2)])
    assert len({r["id"] for r in documents(corpus)}) == 2
    assert [e["action"] for e in ledger(corpus)].count("duplicate") == 2


def test_columns_that_no_document_has_go_into_meta(build: Any) -> None:
    rows = [{"text": essay(1), "likes": 3, "meta": '{"a": 1}'}, {"text": essay(2), "likes": None, "meta": None}]
    corpus = build({"s": rows}, [], held_out=0)
    assert {r["meta"] for r in documents(corpus)} == {'{"likes":3,"a":1}', "{}"}


def test_the_defaults_keep_short_posts_chapters_and_chats(build: Any) -> None:
    chapter = "\n\n".join(essay(i) for i in range(400, 440))
    chat = "Hello\nHi!\nhow are you\nfine, and you?\nlol\nlol\nok then\nbye\nbye"
    post = "Saw two humpbacks off the pier today!"
    texts = {"chapter": chapter, "chat": chat, "post": post}
    corpus = build({"s": [{"id": i, "text": t} for i, t in texts.items()]}, DEFAULT_STEPS)
    assert {r["id"] for r in documents(corpus)} == set(texts)


def test_the_defaults_drop_what_says_nothing(build: Any) -> None:
    spam = "buy cheap watches now " * 60
    junk = " ".join("####" for _ in range(80))
    rows = [{"id": "spam", "text": spam}, {"id": "junk", "text": junk}, {"id": "good", "text": essay(1)}]
    corpus = build({"s": rows}, DEFAULT_STEPS, held_out=0)
    assert [r["id"] for r in documents(corpus)] == ["good"]


def test_signals_of_dropped_documents_are_kept_with_and_without_a_pass(build: Any) -> None:
    rows = [{"id": "long", "text": essay(1)}, {"id": "short", "text": "hm, well"}, {"id": "none", "text": None}]
    for steps in ([], [{"pass": "duplicates"}]):
        corpus = build({"s": rows}, [{"signal": "quality"}, {"decide": "words >= 10"}, *steps], held_out=0)
        found = {r["id"]: r for r in pq.read_table(corpus / "signals" / "phase-0.parquet").to_pylist()}
        assert {i: r["words"] for i, r in found.items()} == {"long": 90, "short": 2}
        assert [r["id"] for r in documents(corpus)] == ["long"]
