"""Where documents and tokens went, counted from a corpus; and what its documents say of their use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data import report_flow
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.report import describe, make_report
from lamina.data.report_flow import flows, rights_in_words, rights_of
from lamina.data.report_page import report_page
from lamina.kit.progress import open_progress

STEPS: list[dict[str, Any]] = [
    {"signal": "quality"},
    {"decide": "words >= 5", "reason": "short"},
    {"pass": "duplicates", "threshold": 0.8},
]
LONG = "A second text about rope and salt and tar and the men who work with them. "


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    rows = [
        {"text": LONG * 3, "license": "CC BY 4.0"},
        {"text": LONG * 3, "license": "MIT"},
        {"text": "too short"},
        {"text": "Quite another text on whales and on the sea.", "rights": "tdm-reservation: 1"},
        {"text": "And one more on islands, birds and the weather there.", "rights": "robots: noindex"},
    ]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "b\nc.txt").write_text("")
    (folder / "d.txt").write_text("A text of another source about nothing at all.")
    mapped = {"text": "text", "license": "license", "rights": "rights"}
    files = tuple(SourceFile(name=name, path=folder / name) for name in ("a.jsonl", "b\nc.txt"))
    sources = [
        SourceInput(name="rows", use="files", files=files, parameters={"fields": mapped}),
        SourceInput(name="texts", use="files", files=(SourceFile(name="d.txt", path=folder / "d.txt"),)),
    ]
    out = folder / "corpus"
    out.mkdir()
    build_corpus(out, folder / "work", sources=sources, steps=STEPS, held_out=0.0, progress=open_progress("quiet"))
    return out


def test_every_document_has_one_fate(corpus: Path) -> None:
    found = flows(corpus)
    report = json.loads((corpus / "report.json").read_text())
    assert sum(found.documents.values()) == report["collected"] == 6
    assert found.documents["rows", "kept"] == 3
    assert found.documents["rows", "short"] == 1
    assert sum(n for (_, fate), n in found.documents.items() if "duplicate" in fate) == 1
    assert found.documents["texts", "kept"] == 1
    assert [fate for fate in found.fates if ("rows", fate) in found.documents][:2] == ["kept", "short"]
    assert found.sources[:2] == ["rows", "texts"]
    duplicate = next(n for (_, fate), n in found.tokens.items() if "duplicate" in fate)
    assert duplicate == pytest.approx(len(LONG * 3) / 4, rel=0.05)


def test_the_smallest_of_many_are_put_together(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_flow, "_SOURCES", 1)
    monkeypatch.setattr(report_flow, "_FATES", 1)
    found = flows(corpus)
    assert set(found.documents) == {("rows", "kept"), ("1 other sources", "kept"), ("rows", "2 other reasons")}
    assert sum(found.documents.values()) == 6


def test_rights_as_they_were_captured(corpus: Path) -> None:
    found = rights_of(corpus)
    (license,) = [name for name in found["licenses"]["rows"] if name != "unknown"]
    assert license in ("CC-BY-4.0", "MIT")
    assert found["signalled"] == 2
    assert found["reserved"] == {"tdm": 1, "any": 1}
    assert found["words"] == {"tdm-reservation: 1": 1, "robots: noindex": 1}
    (line,) = rights_in_words(found, 4)
    assert line == "rights: 2 of 4 documents say how they may be used; 1 reserve text and data mining (tdm 1)"
    assert rights_in_words({}, 4) == []
    assert rights_of(corpus / "nowhere") == {}


def test_words_and_page_tell_of_them(corpus: Path) -> None:
    words = describe(json.loads((corpus / "report.json").read_text()), corpus)
    assert "rights: 2 of 4 documents" in words
    assert "not read: b\ufffdc.txt: is empty" in words
    page = report_page(corpus)
    for piece in ("tokens, estimated at 4 bytes each", "tdm-reservation: 1", "is empty", "least alike", "(rule: "):
        assert piece in page, piece
    assert "prefers-color-scheme:dark" in page


def test_many_files_of_one_reason_hide_no_other() -> None:
    files = tuple(SourceFile(name=f"{n}.x", path=Path(f"{n}.x")) for n in range(9))
    reasons = {file.name: "is no mail" if n < 8 else "is empty" for n, file in enumerate(files)}
    reading = {"read": [], "unread": reasons, "documents": 0}
    source = SourceInput(name="s", use="mail", files=files)
    documents = pl.DataFrame(schema={"source": str, "split": str, "license": str, "language": str, "characters": int})
    ledger = pl.DataFrame(schema={"source": str, "step": str, "action": str, "reason": str, "rows": int})
    report = make_report([source], [reading], documents, ledger)
    assert [name for name, _ in report["unread"]] == ["0.x", "1.x", "2.x", "8.x"]
    assert report["files_unread"] == 9
    assert "5 more files" in describe(report, Path("nowhere"))
