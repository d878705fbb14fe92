"""Cutting documents, and finding the piece that a question is about."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.contracts.corpus import DOCUMENTS
from lamina.interface.grounding.passages import PassageIndex, build_index, split_passages
from lamina.interface.grounding.words import content_words, words

TEXTS = {
    "squires": (
        "Knights and Squires",
        "Starbuck, the chief mate of the Pequod, chose Queequeg for his squire. Tashtego, an unmixed Indian from Gay "
        "Head, was the squire of Stubb, the second mate.",
    ),
    "doubloon": ("The Doubloon", "Ahab nailed a gold doubloon from Ecuador to the mainmast of the Pequod."),
    "policy": ("Returns", "Damaged goods are refunded within 14 days. Send the receipt to returns@example.org."),
    "whales": ("Cetology", "The sperm whale is the largest inhabitant of the globe. Whales are divided into books."),
    "swedish": ("Återköp", "Skadade varor återbetalas inom fjorton dagar."),
    "chinese": ("退货", "损坏的商品可以在十四天内退款。请把收据寄给我们。"),
}


def batch(rows: list[dict[str, object]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=DOCUMENTS)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PassageIndex:
    folder = tmp_path_factory.mktemp("passages")
    rows: list[dict[str, object]] = [
        {"id": id, "title": title, "text": text, "source": "test", "license": "MIT", "url": f"https://e.org/{id}"}
        for id, (title, text) in TEXTS.items()
    ]
    rows.append({"id": "copy", "text": TEXTS["doubloon"][1], "source": "mirror"})
    rows.append({"id": "augmented", "text": "Ahab glued a silver doubloon", "source": "test", "parent_id": "doubloon"})
    rows.append({"id": "empty", "text": None, "source": "test"})
    fillers = [f"Sentence {n} speaks of the weather and the sea near harbour {n}." for n in range(60)]
    rows += [{"id": f"f{n}", "text": text, "source": "filler"} for n, text in enumerate(fillers)]
    assert build_index([batch(rows[:3]), batch(rows[3:])], folder) == len(rows) - 2
    return PassageIndex(folder)


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("Who was Queequeg the squire of?", "squires"),
        ("What did Ahab do with the gold doubloon?", "doubloon"),
        ("refund for damaged goods", "policy"),
        ("Are damaged goods refunded?", "policy"),
        ("What is the biggest whale? The sperm whale?", "whales"),
        ("Återbetalas skadade varor?", "swedish"),
        ("损坏的商品退款", "chinese"),
    ],
)
def test_the_right_passage_comes_first(index: PassageIndex, question: str, document: str) -> None:
    found = index.search(question, 3)
    assert found[0].document_id == document
    assert 0.5 < found[0].score <= 1.0
    assert (found[0].title, found[0].text) == TEXTS[document]
    assert (found[0].url, found[0].license) == (f"https://e.org/{document}", "MIT")


@pytest.mark.parametrize(
    "question",
    [
        "How do I install Kubernetes?",
        "What did Ahab say about quantum computing on Mars?",
        "",
        "?!",
        "who is it",
        "hi!",
    ],
)
def test_what_is_not_there_is_not_found(index: PassageIndex, question: str) -> None:
    assert index.search(question, 3) == []


@pytest.fixture(scope="module")
def chapter(tmp_path_factory: pytest.TempPathFactory) -> PassageIndex:
    """A long text that names its place first, the person then, and others much later, among much else."""
    filler = "The rain fell on the roofs of the town all day and nobody went out of the house. " * 8
    parts = [
        f"The chapel of the whalemen stood on a hill. {filler}",
        f"Then came the famous Father Mapple, whom the whalemen loved. {filler}",
        f"He climbed a ladder of rope, and the preacher drew it up behind him. {filler}",
        *[filler] * 6,
        f"Years later a bishop spoke there. {filler}",
    ]
    folder = tmp_path_factory.mktemp("chapter")
    rows: list[dict[str, object]] = [{"id": "pulpit", "title": "The Pulpit", "text": "\n\n".join(parts)}]
    rows += [{"id": f"f{n}", "text": f"Page {n} tells of ships and of prices in {1800 + n}."} for n in range(200)]
    build_index([batch(rows)], folder)
    return PassageIndex(folder)


def test_a_passage_is_understood_with_those_around_it(chapter: PassageIndex) -> None:
    question = "What is the name of the famous preacher in the whalemen's chapel?"
    found = chapter.search(question, 3)
    assert any("Father Mapple" in passage.text for passage in found)
    assert all(0.58 <= passage.score < 1.0 for passage in found)


def test_what_stands_far_away_does_not_count(chapter: PassageIndex) -> None:
    assert chapter.search("Which bishop was famous for ladders of rope in the pulpits of Venice?", 3) == []
    assert chapter.search("Did the famous bishop of the whalemen preach?", 3) == []


def test_the_same_text_comes_once_and_augmented_text_never(index: PassageIndex) -> None:
    assert [p.document_id for p in index.search("gold doubloon on the mainmast", 5)] == ["doubloon"]
    assert index.search("Ahab glued a silver doubloon", 5) == []
    assert index.document("augmented") is None


def test_documents_come_back_whole(index: PassageIndex) -> None:
    document = index.document("squires")
    assert document["text"] == TEXTS["squires"][1]
    assert set(document) == {"id", "title", "author", "url", "source", "license", "created", "text"}
    assert index.document("nothing") is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=200) | st.sampled_from(['"', "a AND", "NEAR(", "title:x", "-a*", "^x", "'; DROP TABLE passage"])
)
def test_any_text_is_a_query(index: PassageIndex, query: str) -> None:
    for passage in index.search(query, 3):
        assert 0 <= passage.score <= 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["Call me Ishmael. ", "word ", "\n\n", "x" * 300, "捕鲸船很大。", "\n", " ", "“Aye!” he said. ", "e\u0301"]
        ),
        max_size=120,
    ).map("".join)
    | st.text(max_size=400)
)
def test_passages_tile_the_text(text: str) -> None:
    pieces = split_passages(text)
    assert "".join(piece for _, piece in pieces) == text
    assert all(text.startswith(piece, start) for start, piece in pieces)


def test_passages_have_a_few_sentences_each() -> None:
    text = "\n\n".join(" ".join(f"This is sentence {n}.{m} of the text." for m in range(9)) for n in range(60))
    sizes = [len(piece.split()) for _, piece in split_passages(text)]
    assert all(40 <= size <= 220 for size in sizes)
    assert all(piece.rstrip().endswith(".") for _, piece in split_passages(text))
    no_language = split_passages("a" * 100_000)
    assert max(len(piece) for _, piece in no_language) < 4000


def test_long_documents_split_and_join(tmp_path: Path) -> None:
    text = "Preface.\n\n" + " ".join(f"Paragraph {n} tells of island {n}." for n in range(2000))
    created = datetime(2020, 1, 1, tzinfo=UTC)
    build_index([batch([{"id": "long", "text": text, "source": "s", "created": created}])], tmp_path)
    index = PassageIndex(tmp_path)
    assert index.document("long")["text"] == text
    assert index.document("long")["created"].startswith("2020-01-01")
    found = index.search("What does paragraph 1234 tell of island 1234?", 1)[0]
    assert "island 1234" in found.text
    assert text[found.start :].startswith(found.text)


def test_searching_does_not_write(tmp_path: Path) -> None:
    build_index([batch([{"id": "a", "text": "The sperm whale.", "source": "s"}])], tmp_path)
    before = {f.name: (f.stat().st_size, f.stat().st_mtime_ns) for f in tmp_path.iterdir()}
    index = PassageIndex(tmp_path)
    assert index.search("sperm whale", 1)
    index.close()
    assert {f.name: (f.stat().st_size, f.stat().st_mtime_ns) for f in tmp_path.iterdir()} == before


def test_a_huge_query_is_answered_quickly(index: PassageIndex) -> None:
    started = time.monotonic()
    index.search("whale " * 20000 + " ".join(f"word{n}" for n in range(20000)), 3)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("one", "other"),
    [("whales", "whale"), ("nailed", "nail"), ("making", "make"), ("cities", "city"), ("Ahab's", "Ahab"), ("É", "e"),
     ("running", "run"), ("boxes", "box"), ("STRASSE", "straße")],
)  # fmt: skip
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    assert words(one) == words(other)


def test_content_words_leave_the_asking_out() -> None:
    assert content_words("Can you please tell me what the Pequod's captain is called?") == ["pequod", "captain"]
    assert content_words("Thanks!") == []
