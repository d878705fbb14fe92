from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.kit.progress import open_progress

WORDS = [f"w{i}" for i in range(3000)]
QUESTION = "which of the many whales did the captain follow for three years"


def prose(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def rows() -> list[dict[str, Any]]:
    documents = [{"id": f"d{i:02d}", "text": f"Our menu for you\n{prose(i)}\nWrite to us any day"} for i in range(30)]
    documents += [{"id": f"c{i:02d}", "text": f"OUR MENU for you!\n{prose(i)} indeed"} for i in range(16)]
    return [*documents, {"id": "exam", "text": f"{prose(99)} {QUESTION}: the white one. {prose(98)}"}]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_passes_work_together_in_a_corpus(tmp_path: Path, workers: int) -> None:
    file, exam, corpus = tmp_path / "papers.jsonl", tmp_path / "exam.jsonl", tmp_path / "corpus"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    exam.write_text(json.dumps({"question": QUESTION, "answer": "the white one"}))
    corpus.mkdir()
    steps = [
        {"pass": "lines", "share": 0.2},
        {"transform": "cut_lines"},
        {"pass": "decontaminate", "sets": [str(exam)]},
        {"pass": "duplicates", "alarm": 0.3, "index": True},
    ]
    source = SourceInput(name="papers", use="files", files=(SourceFile(name=file.name, path=file),), license="MIT")
    report = build_corpus(
        corpus,
        tmp_path / "work",
        sources=[source],
        steps=steps,
        held_out=0.1,
        progress=open_progress("quiet"),
        workers=workers,
    )
    kept = [r for f in sorted((corpus / "data").glob("*.parquet")) for r in pq.read_table(f).to_pylist()]
    assert len(kept) == 30
    assert not any("menu" in r["text"].lower() or "Write to us" in r["text"] for r in kept)
    assert (
        "source 'papers' lost 35% of its documents to duplicates (16 of 46; the alarm is set at 30%)"
        in report["warnings"]
    )
    ledger = pq.read_table(corpus / "ledger.parquet").to_pylist()
    dropped = [r for r in ledger if r["action"] in ("drop", "duplicate")]
    assert [r["reason"] for r in dropped if r["action"] == "drop"] == ["evaluation item"]
    assert {r["reason"] for r in dropped if r["action"] == "duplicate"} == {"near duplicate"}
    assert all(json.loads(r["detail"])["jaccard"] > 0.9 for r in dropped if r["action"] == "duplicate")
    assert sum(r["action"] == "edit" and "cut lines" in (r["detail"] or "") for r in ledger) == 46
