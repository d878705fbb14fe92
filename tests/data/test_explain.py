from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.explain import describe, explain, whereis
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.shards import ShardWriter
from lamina.kit.errors import InputError, NotFoundError
from lamina.kit.progress import open_progress

PROSE = "The whale rose slowly beside the boat and the men held their breath while the old captain watched the water."
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
        "other.txt": "Salt and rope and canvas are what a ship is made of, said the sailor to the boy on the quay.",
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
