"""The files source over whole folders: parts of large files, Office documents, archives, dumps, data sets."""

from __future__ import annotations

import bz2
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.chat import DPO, KTO, SFT
from lamina.contracts.corpus import FilePart, Inbox, SourceFile
from lamina.data.sources.files import files

P = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
PAGE = "<page><title>T{n}</title><ns>{ns}</ns><id>{n}</id><revision><text>{text}</text></revision></page>"


def parted(path: Path, parts: list[FilePart], report: Any) -> list[dict[str, Any]]:
    rows = []
    for part in parts:
        file = SourceFile(name="big", path=path, part=part)
        named = replace(file, name=path.name)
        inbox = Inbox(source="mine", files=(named,), origin="", collected=datetime.now(UTC), report=report)
        rows += [row for batch in files(inbox) for row in batch.to_pylist()]
    return rows


def test_parts_of_a_jsonl_file_give_the_ids_of_the_whole(tmp_path: Path, collect: Any) -> None:
    path = tmp_path / "a.jsonl"
    lines = [b'{"text": "line %d"}\n' % n for n in range(10)]
    lines[4] = b"broken\n"
    path.write_bytes(b"".join(lines))
    whole = collect("files", {"a.jsonl": path})
    cuts = [0, 3, 4, 5, 10]
    ends = [sum(map(len, lines[:n])) for n in cuts]
    parts = [FilePart(begin=a, end=b, first=n) for a, b, n in zip(ends, ends[1:], cuts, strict=False)]
    said = collect("files", {})
    rows = parted(path, parts, said)
    assert [(row["id"], row["text"]) for row in rows] == [(row["id"], row["text"]) for row in whole.rows]
    assert said.reasons == whole.reasons
    assert list(said.reasons) == [f"a.jsonl, line 5 (byte {ends[2]})"]
    assert said.names[0] == "a.jsonl"


def test_parts_of_a_parquet_file_give_the_ids_of_the_whole(tmp_path: Path, collect: Any) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(50)]}), path, row_group_size=20)
    whole = collect("files", {"a.parquet": path})
    parts = [FilePart(begin=0, end=1, first=0), FilePart(begin=1, end=3, first=20)]
    rows = parted(path, parts, collect("files", {}))
    assert [(row["id"], row["text"]) for row in rows] == [(row["id"], row["text"]) for row in whole.rows]


def test_office_documents_and_the_rest_of_a_folder(collect: Any, make_docx: Any, make_xlsx: Any) -> None:
    found = collect(
        "files",
        {
            "a/b.docx": make_docx(P.format("Words.")),
            "c.xlsx": make_xlsx({"One": "<row><c><v>1</v></c></row>", "Two": "<row><c><v>2</v></c></row>", "No": ""}),
            "d.rtf": rb"{\rtf1 rich}",
            "e.ipynb": json.dumps({"cells": [{"cell_type": "markdown", "source": "# Note"}]}),
            "f.srt": "1\n00:00:01,000 --> 00:00:02,000\nsaid",
            "g.tex": r"\section{S} text",
            "h.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"),
            "i.xml": "<docbook><para>x</para></docbook>",
            "j.eml": "From: a",
        },
    )
    assert found.texts() == ["Words.", "1", "2", "rich", "# Note", "said", "## S\n\ntext"]
    word, one, two = found.rows[:3]
    assert (word["title"], word["author"], word["group_id"]) == ("The Lamp", "Ada North", None)
    assert word["created"] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert (one["title"], one["group_id"], two["position"]) == ("The Lamp: One", "c.xlsx", 1)
    assert one["url"] == "npm:box@1/c.xlsx#One"
    assert found.reasons["c.xlsx, sheet 'No'"] == "is empty"
    assert "save it as .docx" in found.reasons["h.doc"]
    assert "<docbook>" in found.reasons["i.xml"]
    assert 'source "mail"' in found.reasons["j.eml"]


def test_an_archive_is_read_as_the_folder_that_it_is(collect: Any, make_zip: Any, make_docx: Any) -> None:
    inner = make_zip({"deep.txt": "deep", "deeper.zip": make_zip({"x.txt": "too deep"})})
    found = collect(
        "files",
        {
            "export.zip": make_zip(
                {
                    "Page 0123.md": "# Title\nwords",
                    "sub/rows.csv": "text\nrow",
                    "word.docx": make_docx(P.format("Words.")),
                    "part.zip": inner,
                    "page.html": "<html><body><article><p>"
                    + "A saved page has words. " * 20
                    + "</p></article></body></html>",
                    "../out.txt": "no",
                    "__MACOSX/x.txt": "no",
                    "pic.png": b"\x89PNG",
                    "book.epub": b"PK",
                }
            )
        },
    )
    assert [text.strip()[:20] for text in found.texts()] == [
        "# Title\nwords", "row", "Words.", "deep", "A saved page has wor",
    ]  # fmt: skip
    assert found.rows[3]["url"] == "npm:box@1/export.zip/part.zip/deep.txt"
    assert found.reasons["export.zip, ../out.txt"] == "leads outside of the archive"
    assert "of the kind '.png'" in found.reasons["export.zip/pic.png"]
    assert "of the kind '.zip'" in found.reasons["export.zip/part.zip/deeper.zip"]
    assert "books" in found.reasons["export.zip/book.epub"]


def test_tables_tell_their_encoding(collect: Any) -> None:
    rows = "text;n\nGrüße aus Köln;1\n".encode("cp1252") * 3
    lines = '{"text": "Öl"}\n'.encode("cp1252")
    srt = "1\n00:00:01,000 --> 00:00:02,000\nÄh, ja.\n".encode("cp1252")
    found = collect("files", {"a.csv": rows, "b.jsonl": lines, "c.srt": srt}, encoding="cp1252")
    assert found.texts() == ["Grüße aus Köln", "text", "Grüße aus Köln", "text", "Grüße aus Köln", "Öl", "Äh, ja."]
    assert 'encoding = "cp1252"' in collect("files", {"a.csv": rows}).reasons["a.csv"]


def test_the_card_beside_tables_says_their_licence(collect: Any, tmp_path: Path) -> None:
    data = tmp_path / "hub" / "data"
    data.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["one", "two"], "license": [None, "mit"]}), data / "train.parquet")
    card = tmp_path / "hub" / "README.md"
    card.write_text("---\nlicense: cc-by-4.0\nlanguage:\n- de\nconfigs:\n- config_name: default\n---\n# Card")
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\nOutside of the location.")
    given = {"data/train.parquet": data / "train.parquet", "README.md": card}
    found = collect("files", given)
    assert [(row["license"], row["language"]) for row in found.rows] == [("CC-BY-4.0", "de"), ("MIT", "de")]
    card.write_text("---\nlicense: other\nlanguage: [en, de]\ndataset_info: x\n---\n# Card")
    assert [(row["license"], row["language"]) for row in collect("files", given).rows] == [(None, None), ("MIT", None)]


def test_a_dump_of_a_wiki(collect: Any) -> None:
    pages = "".join(PAGE.format(n=n, ns=0 if n % 5 else 1, text=f"Article {n} [[a|b]].") for n in range(200))
    head = '<mediawiki xml:lang="en"><siteinfo><sitename>W</sitename><base>https://w.org/wiki/M</base></siteinfo>'
    dump = f"{head}{pages}{PAGE.format(n=900, ns=0, text='<bad')}</mediawiki>".encode()
    found = collect("files", {"a.xml": dump, "b.xml.bz2": bz2.compress(dump[:-40])})
    assert len(found.rows) == 320
    assert found.rows[0]["text"] == "Article 1 b."
    assert found.rows[0]["url"] == "https://w.org/wiki/T1"
    assert found.rows[0]["group_id"] == "W"
    assert found.reasons["a.xml, 39 more"] == "is no article (namespace 1)"
    assert any("malformed" in reason for reason in found.reasons.values())
    assert "middle of the page" in found.reasons["b.xml.bz2"]
    assert "160 documents before that were kept" in found.reasons["b.xml.bz2"]


def test_folders_of_hugging_face_datasets(collect: Any, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    table = pa.table({"text": ["one", "two"]})
    for name in ("data-00000-of-00001.arrow", "cache-123.arrow"):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}, "license": "mit"}))
    pq.write_table(table, tmp_path / "p.parquet")
    given = {f"saved/{path.name}": path for path in sorted(folder.iterdir())}
    found = collect("files", given | {
        "hub/README.md": "---\nlicense: mit\nconfigs:\n- config_name: default\n---\n# Card",
        "hub/data/train.parquet": tmp_path / "p.parquet",
        "other/README.md": "---\ntitle: x\n---\nA text about configs: none.",
    })  # fmt: skip
    assert found.texts() == ["one", "two", "one", "two", "A text about configs: none."]
    assert [row["license"] for row in found.rows[:3]] == ["MIT", "MIT", None]
    assert set(found.reasons) == {
        "saved/cache-123.arrow",
        "saved/dataset_info.json",
        "saved/state.json",
        "hub/README.md",
    }


def test_real_datasets_write_what_is_read_here(collect: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_dict({"text": [f"text {n}" for n in range(30)]})
    datasets.DatasetDict({"train": whole, "test": whole.select(range(3))}).save_to_disk(tmp_path / "d")
    given = {path.relative_to(tmp_path).as_posix(): path for path in sorted((tmp_path / "d").rglob("*.*"))}
    found = collect("files", given)
    assert len(found.rows) == 33
    assert set(found.reasons.values()) == {"describes the data set that it lies beside, and is no document"}


def test_a_snapshot_of_feedback_becomes_conversations(collect: Any, tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Hi"}]

    def row(name: str, split: str = "train", **more: Any) -> dict[str, Any]:
        about = {"feedback_id": name, "interaction_id": "i", "user": "person", "split": split}
        return {"prompt": said, **about, "created": datetime(2024, 5, 1, tzinfo=UTC), **more}

    def turn(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    tables = {
        "sft": ([row("f1", completion=turn("Hello.")), row("f2", "held-out", completion=turn("No."))], SFT),
        "kto": (
            [row("f1", completion=turn("Hello."), label=True), row("f3", completion=turn("Bad."), label=False)],
            KTO,
        ),
        "dpo": ([row("f4", chosen=turn("Good."), rejected=turn("Bad."))], DPO),
    }
    for name, (rows, schema) in tables.items():
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / f"{name}.parquet")
    (tmp_path / "facts.json").write_text(json.dumps({"sft_train": 1}))
    given = {path.name: path for path in sorted(tmp_path.iterdir()) if path.suffix in (".parquet", ".json")}
    found = collect("files", given)
    assert sorted(found.texts()) == ["A: Hi\nB: Good.", "A: Hi\nB: Hello.", "A: Hi\nB: Hello."]
    hello = [row for row in found.rows if "Hello" in row["text"]]
    assert hello[0]["id"] == hello[1]["id"]
    assert json.loads(hello[0]["meta"])["messages"] == [*said, *turn("Hello.")]
    assert {reason for name, reason in found.reasons.items() if "record" in name} == {
        "is held out to measure with", "holds an answer that people marked as wrong",
    }  # fmt: skip


def test_csv_as_spreadsheets_write_it(collect: Any) -> None:
    found = collect(
        "files",
        {
            "a.csv": "sep=|\ntext|n\none|1\n",
            "b.csv": "text,text, ,n\none,two,three,4\n",
            "wide.csv": ",".join(f"c{n}" for n in range(100_000)) + "\n1\n",
            "nul.csv": b"text,n\n" + b"good,1\n" * 1000 + b"b\0d,2\nalso,3\n",
        },
    )
    assert found.texts()[:2] == ["one", "one"]
    assert json.loads(found.rows[1]["meta"]) == {"text 2": "two", "column 3": "three", "n": "4"}
    assert "columns" in found.reasons["wide.csv"]
    assert found.texts()[-1] == "also"


def test_the_kinds_that_are_read_are_those_that_are_routed() -> None:
    from lamina.data.readers import whole
    from lamina.data.sources import formats

    assert set(formats.WHOLE) <= set(whole._READERS)
    assert not set(formats.ELSEWHERE) & {*formats.WHOLE, *formats.TEXT, *formats.COLUMNS, *formats.TABLES}
