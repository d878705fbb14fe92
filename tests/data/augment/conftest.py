from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pytest

WORDS = {
    "quick": ["fast", "speedy"],
    "fox": ["vixen"],
    "dog": ["hound"],
    "jumps": ["leaps"],
    "lazy": ["idle", "slothful"],
    "product": ["article"],
    "house": ["home", "dwelling"],
    "apple": ["fruit", "orb"],
    "sea": ["ocean"],
    "calm": ["still", "quiet"],
    "morning": ["dawn"],
    "keeper": ["guardian"],
    "hund": ["köter"],
    "лес": ["бор"],
}


@pytest.fixture(scope="session")
def thesaurus(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("thesaurus") / "th_en_words.json"
    path.write_text(json.dumps(WORDS))
    return str(path)


def documents(*texts: str, language: str | None = "en", ids: list[str] | None = None) -> pa.RecordBatch:
    names = ids or [f"document-{i}" for i in range(len(texts))]
    return pa.RecordBatch.from_pydict(
        {"id": names, "text": list(texts), "language": pa.array([language] * len(texts), pa.string())}
    )


@pytest.fixture(scope="session")
def make() -> Callable[..., pa.RecordBatch]:
    return documents


def again(text: str, edits: list[list[int | str]]) -> str:
    """The child that the edits of a detail make of its parent."""
    out, at = [], 0
    for first, last, new in edits:
        out += [text[at : int(first)], str(new)]
        at = int(last)
    return "".join([*out, text[at:]])


@pytest.fixture(scope="session")
def redo() -> Callable[..., str]:
    return again
