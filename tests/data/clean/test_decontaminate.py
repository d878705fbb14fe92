from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.data.clean.decontaminate import decontaminate
from lamina.data.clean.frames import warnings_of
from lamina.kit.errors import ConfigError, InputError

Find = Callable[..., dict[str, dict[str, Any]]]
WORDS = [f"w{i}" for i in range(2000)]
SHORT = "How many whales did the captain count on the second day?"
ANSWER = "forty two"
FILLER = " ".join(f"filler{i}" for i in range(300))


def prose(seed: int, words: int = 80) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


LONG = " ".join(prose(1))


@pytest.fixture
def items(tmp_path: Path) -> Path:
    rows = [{"id": "q1", "question": SHORT, "answer": ANSWER}, {"id": "q2", "question": LONG, "answers": ["x", "blue"]}]
    rows += [{"id": f"r{i}", "question": " ".join(prose(50 + i, 30)) + " the end of the question"} for i in range(20)]
    path = tmp_path / "exam.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def find(as_batches: Callable[..., Any]) -> Find:
    def run(texts: list[str | None], *sets: Path, units: int = 2, **parameters: Any) -> dict[str, dict[str, Any]]:
        rows = {"id": [f"d{i}" for i in range(len(texts))], "text": pa.array(texts, pa.string())}
        table = decontaminate(as_batches(rows, units), sets=tuple(map(str, sets)), **parameters)
        return {row["id"]: row for row in table.to_pylist()}

    return run


def gone(found: dict[str, dict[str, Any]]) -> set[str]:
    return {i for i, row in found.items() if row["drop"]}


def test_planted_items_are_found_with_evidence(find: Find, items: Path) -> None:
    found = find(
        [
            f"{FILLER} Question: {SHORT.upper()} -- Answer: Forty-two. {FILLER}",
            f"{FILLER} {LONG} the answer is blue {FILLER}",
            FILLER,
        ],
        items,
    )
    assert gone(found) == {"d0", "d1"}
    assert found["d0"]["drop"] == "evaluation item"
    evidence = json.loads(found["d0"]["detail"])
    assert evidence == {
        "set": "exam.jsonl",
        "item": "q1",
        "score": 1.0,
        "shared": 7,
        "answer": ANSWER,
        "question": SHORT,
    }
    assert json.loads(found["d1"]["detail"])["item"] == "q2"
    assert [found[f"d{i}"]["contamination"] for i in range(3)] == [1.0, 1.0, 0.0]


def test_near_misses_stay(find: Find, items: Path) -> None:
    texts: list[str | None] = [
        SHORT.replace("second", "third") + " " + ANSWER,  # a short item must be there to the word
        SHORT,  # the question without its answer
        f"{SHORT} {FILLER} {ANSWER}",  # the answer far away
        LONG[: len(LONG) // 2] + " blue",  # half of a long one
        " ".join(LONG.split()[k] for k in range(79, -1, -1)) + " blue",  # its words in another order
        " filler ".join([LONG[:200], LONG[200:280], FILLER, LONG[280:]]) + " blue",  # its parts far from one another
        "so it goes until the end of the question and further",
        "",
        None,
    ]
    assert gone(find(texts, items)) == set()
    assert gone(find(texts[:3], items, answers="ignore")) == {"d1", "d2"}


def test_a_long_item_may_be_changed_a_little(find: Find, items: Path) -> None:
    words = LONG.split()
    for k in (20, 60):
        words[k] = "changed"
    text = f"{FILLER} {' '.join(words)} blue"
    found = find([text], items)
    assert gone(found) == {"d0"}
    assert 0.8 <= found["d0"]["contamination"] < 1
    assert gone(find([text], items, threshold=0.95)) == set()


def test_any_thirteen_words_by_the_rule_of_gpt_3(find: Find, items: Path) -> None:
    words = LONG.split()
    texts: list[str | None] = [" ".join(words[10:23]), " ".join(words[10:22]), f"{FILLER} {' '.join(words[40:60])}"]
    assert gone(find(texts, items, rule="ngram")) == {"d0", "d2"}
    assert gone(find(texts, items, rule="ngram", n=10)) == {"d0", "d1", "d2"}
    assert gone(find(texts, items)) == set()


def test_long_answers_count_by_their_words(find: Find, tmp_path: Path) -> None:
    solution = " ".join(prose(3, 40))
    path = tmp_path / "maths.jsonl"
    path.write_text(json.dumps({"problem": LONG, "solution": solution}))
    changed = solution.split()
    changed[3] = "changed"
    assert gone(find([f"{LONG} {' '.join(changed)}", f"{LONG} {' '.join(prose(4, 40))}"], path)) == {"d0"}


def test_sets_as_parquet_text_gzip_and_squad(find: Find, tmp_path: Path) -> None:
    questions = [" ".join(prose(i, 12)) for i in range(4)]
    pq.write_table(pa.table({"question": [questions[0]]}), tmp_path / "a.parquet")
    (tmp_path / "b.txt").write_text(questions[1] + "\n\n")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps({"prompt": questions[2]}).encode()))
    squad = {"question": questions[3], "answers": {"text": ["Nantucket"], "answer_start": [1]}}
    (tmp_path / "d.jsonl").write_text(json.dumps(squad))
    sets = [tmp_path / name for name in ("a.parquet", "b.txt", "c.jsonl.gz", "d.jsonl")]
    texts = [f"so: {q} and" for q in questions]
    assert gone(find([*texts], *sets)) == {"d0", "d1", "d2"}
    assert gone(find([*texts[:3], f"{texts[3]} Nantucket"], *sets)) == {"d0", "d1", "d2", "d3"}


def test_wrong_sets_are_named(find: Find, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        find(["x"], tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"question": "a"}\n{')
    with pytest.raises(InputError, match=r"bad.jsonl:2"):
        find(["x"], tmp_path / "bad.jsonl")
    (tmp_path / "odd.jsonl").write_text('{"name": "a"}')
    with pytest.raises(InputError, match="none of the fields"):
        find(["x"], tmp_path / "odd.jsonl")


def test_items_too_short_to_be_looked_for_are_counted(as_batches: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("who wrote hamlet\nwho was it that wrote it\n")
    table = decontaminate(as_batches({"id": ["a"], "text": ["who wrote hamlet"]}), sets=(str(tmp_path / "short.txt"),))
    assert warnings_of(table.schema) == ["1 of 2 evaluation items have fewer than 5 words and were not looked for"]
    assert table.column("drop").to_pylist() == [None]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), units=st.integers(1, 4))
def test_every_planted_item_is_found_and_nothing_else(find: Find, items: Path, seed: int, units: int) -> None:
    draw = random.Random(seed)
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    texts, wanted = [], set()
    for i in range(12):
        words = [draw.choice(WORDS) for _ in range(draw.choice([0, 4, 60]))]
        if draw.random() < 0.4:
            row = draw.choice(rows)
            said = row.get("answer") or row.get("answers", [""])[-1]
            words[draw.randint(0, len(words)) :] = [row["question"], said]
            wanted.add(f"d{i}")
        texts.append(" ".join(words))
    assert gone(find(texts, items, units=units)) == wanted
