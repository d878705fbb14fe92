"""The stack's own questions looked for in its corpus, from the stack file to the printed line and the page."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.kit.durable import publish
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes import contamination
from lamina.recipes.forget import forget
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import build_data
from lamina.recipes.variety import report

WORDS = [f"sea{i}" for i in range(900)]
WHALES = "How many whales did the captain count on the second day?"
CHEST = "Which of the sailors had hidden the silver compass in the old chest?"
QUESTIONS: list[dict[str, Any]] = [
    {"question": WHALES, "answers": ["forty two"]},
    {"question": CHEST, "answers": ["Jim"]},
    {"question": "Who was Jim?", "answers": ["a sailor"]},
]
STACK = """
name = "harbour"

[data]
held_out = 0.0
workers = 1

[[data.sources]]
use = "files"
from = "docs"
name = "docs"
license = "CC0-1.0"

[[data.steps]]
transform = "normalize"
{steps}
[model]
base = "base"

[model.evaluate]
questions = "exam.jsonl"
"""
STEP = '[[data.steps]]\npass = "decontaminate"\nsets = ["./exam.jsonl"]\n'


def prose(seed: int, count: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def stack_of(folder: Path, steps: str = "") -> Stack:
    (folder / "docs").mkdir(exist_ok=True)
    # What the questions are about is no contamination: their answers, their words in another order.
    about = "On the second day the captain did count how many whales there were: forty two. Jim had hidden the compass."
    texts = {"about": f"{prose(1)} {about} {prose(2)}", "quoted": f"{prose(3)} {WHALES} Nobody told him. {prose(4)}"}
    texts |= {f"other{n}": prose(10 + n) for n in range(6)}
    for name, text in texts.items():
        (folder / "docs" / f"{name}.txt").write_text(text)
    (folder / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    (folder / "lamina.toml").write_text(STACK.replace("{steps}", steps))
    return open_stack(folder / "lamina.toml")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """Documents about the questions, one that quotes a question, and the exam itself, collected by accident."""
    made = stack_of(tmp_path)
    said = [f"{row['question']} {row['answers'][0]}." for row in QUESTIONS]
    (tmp_path / "docs" / "exam.txt").write_text(f"{prose(20)}\n" + "\n".join(said))
    return made


def test_documents_that_hold_questions_are_counted_and_named_and_stay(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    found = build_data(stack, json=True)
    assert found["documents"] == 9
    held = found["contamination"]
    assert (held["set"], held["questions"], held["too_short"], held["searched"], held["held"]) == (
        "exam.jsonl", 3, 1, 9, 2,
    )  # fmt: skip
    assert [(h["source"], h["questions"], h["answer"]) for h in held["documents"]] == [
        ("docs", 2, held["documents"][0]["answer"]),
        ("docs", 1, None),
    ]
    assert held["documents"][0]["answer"] in ("forty two", "Jim")
    capfd.readouterr()
    build_data(stack, json=False)
    printed = "".join(capfd.readouterr())
    first = held["documents"][0]["id"]
    assert "note: evaluation: 2 documents hold 2 of the 3 questions of exam.jsonl, 1 with an answer" in printed
    assert f"(docs 2: {first}, " in printed
    assert "nothing was dropped; 1 have fewer than 5 words and were not looked for" in printed
    report(stack, stack.folder / "page.html")
    page = (stack.folder / "page.html").read_text()
    assert "2 documents hold 2 of the 3 questions of exam.jsonl" in page
    assert "exam.txt" in page
    assert WHALES in page


def test_what_is_forgotten_is_not_named_any_more(stack: Stack) -> None:
    held = build_data(stack, json=True)["contamination"]["documents"]
    shelf = stack.state / contamination.SHELF
    assert list(shelf.iterdir())
    forget(stack, ids=[held[0]["id"]], because="asked", confirm=lambda words: True)
    assert not list(shelf.iterdir())
    left = build_data(stack, json=True)["contamination"]["documents"]
    assert [h["id"] for h in left] == [held[1]["id"]]


def test_other_questions_leave_the_corpus_fresh_and_are_looked_for_anew(stack: Stack) -> None:
    first = build_data(stack, json=True)
    (stack.folder / "exam.jsonl").write_text(json.dumps({"question": "Where did nobody ever go?", "answers": ["x"]}))
    second = build_data(stack, json=True)
    assert second["corpus"] == first["corpus"]
    assert second["contamination"]["documents"] == []
    line = "evaluation: no document holds one of the 1 questions of exam.jsonl"
    assert contamination.in_words(second["contamination"]) == [line]
    assert len(list((stack.state / contamination.SHELF).iterdir())) == 2


def test_a_step_drops_what_holds_the_questions_and_nothing_is_left_to_say(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, STEP + 'answers = "ignore"\n')
    found = build_data(stack, json=True)
    assert found["contamination"] is None
    assert (found["documents"], found["dropped"]) == (7, {"evaluation item": 1})
    assert contamination.in_words(None) == []
    lenient = stack_of(tmp_path, STEP)  # keeps what holds a question without its answer
    assert build_data(lenient, json=True)["contamination"] is not None
    other = stack_of(tmp_path, STEP.replace("exam", "other"))
    (tmp_path / "other.jsonl").write_text(json.dumps({"question": "Was it another exam than this one?"}))
    assert len(build_data(other, json=True)["contamination"]["documents"]) == 1


def test_tasks_are_looked_for_with_the_questions(tmp_path: Path) -> None:
    stack_of(tmp_path)
    cloze = tmp_path / "cloze.jsonl"
    cloze.write_text(json.dumps({"context": prose(1, 12), "choices": ["the whale", "the gull"], "answer": 0}))
    file = tmp_path / "lamina.toml"
    file.write_text(file.read_text() + 'tasks = ["cloze.jsonl"]\n')
    stack, workshop = open_stack(file), Workshop(tmp_path / "state", open_progress("quiet"))
    with publish(tmp_path / "corpus") as staging:
        (staging / "data").mkdir()
        rows = {"id": ["a", "b"], "source": ["s", "s"], "split": ["train", "train"], "text": [prose(1), prose(5)]}
        pq.write_table(pa.table(rows), staging / "data" / "train-0.parquet")
    held = contamination.questions_in(stack, tmp_path / "corpus", workshop)
    assert held is not None
    assert (held["set"], held["questions"], held["held"]) == ("exam.jsonl, cloze.jsonl", 4, 1)
    assert [h["id"] for h in held["documents"]] == ["a"]
    cloze.unlink()
    failed = contamination.questions_in(stack, tmp_path / "corpus", workshop)
    assert failed is not None
    assert "no such file" in failed["failed"]


def test_questions_that_cannot_be_read_stop_no_corpus(stack: Stack) -> None:
    (stack.folder / "exam.jsonl").write_text("{")
    found = build_data(stack, json=True)
    assert "exam.jsonl:1" in found["contamination"]["failed"]
    assert contamination.in_words(found["contamination"])[0].startswith("note: the questions of the evaluation")
    report(stack, stack.folder / "page.html")
    assert "were not looked for" in (stack.folder / "page.html").read_text()


def test_a_stack_without_questions_looks_for_none(tmp_path: Path) -> None:
    stack_of(tmp_path)
    file = tmp_path / "lamina.toml"
    file.write_text(file.read_text().split("[model]")[0])
    found = build_data(open_stack(file), json=True)
    assert found["contamination"] is None
