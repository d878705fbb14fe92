from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lamina.data.clean.labels import Label, read_labels, unlabelled, with_texts, written
from lamina.data.clean.quality_features import features
from lamina.data.clean.quality_model import quality_model
from lamina.data.clean.quality_training import _solve, auc, train
from lamina.data.steps import plan
from lamina.kit.errors import ConfigError

SUBJECTS = ["The captain", "An old sailor", "The keeper of the light", "Our cook", "The youngest of the crew"]
VERBS = ["watched the water", "spoke of the storm", "mended a torn sail", "counted the barrels", "wrote to his sister"]
ENDS = ["before the tide turned.", "while the others slept.", "as the gulls came in.", "because nobody else would."]


def prose(seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(ENDS)}" for _ in range(draw.randint(4, 9))
    )


def junk(seed: int) -> str:
    draw = random.Random(seed)
    words = ["Home", "Login", "Share", "Subscribe", "Cart (0)", "Next »", "Sale!", "Cookies", "© 2024", "Read more"]
    lines = [" | ".join(draw.sample(words, 3)) for _ in range(draw.randint(4, 9))]
    return prose(seed)[:90] + "\n" + "\n".join(lines)


def labels(count: int, begin: int = 0) -> list[Label]:
    made = [(prose(i), True) if i % 2 else (junk(i), False) for i in range(begin, begin + count)]
    return [Label(line=n, id=None, text=text, keep=keep) for n, (text, keep) in enumerate(made, 1)]


def file_of(folder: Path, rows: list[Label] | list[dict[str, Any]]) -> Path:
    file = folder / "labels.jsonl"
    told = [{"text": r.text, "keep": r.keep} if isinstance(r, Label) else r for r in rows]
    file.write_text("\n".join(json.dumps(r) for r in told))
    return file


def test_fifty_labels_are_enough_for_texts_it_has_not_seen(tmp_path: Path) -> None:
    file = file_of(tmp_path, labels(50))
    unseen = labels(200, begin=1000)
    batch = pa.record_batch({"text": [label.text for label in unseen]})
    found = np.array(quality_model(batch, labels=str(file)).to_pydict()["quality_model"])
    wanted = np.array([label.keep for label in unseen], np.float64)
    assert auc(found, wanted) > 0.98
    assert ((found - wanted) ** 2).mean() < 0.05  # they are probabilities, not only scores


def test_the_same_labels_in_any_order_and_any_batch_give_the_same_figures(tmp_path: Path) -> None:
    rows = labels(40)
    texts = [label.text for label in labels(30, begin=500)]
    one = quality_model(pa.record_batch({"text": texts}), labels=str(file_of(tmp_path, rows)))
    (tmp_path / "other").mkdir()
    other = file_of(tmp_path / "other", rows[::-1])
    parts = [quality_model(pa.record_batch({"text": texts[i : i + 7]}), labels=str(other)) for i in range(0, 30, 7)]
    assert [x for part in parts for x in part["quality_model"].to_pylist()] == one["quality_model"].to_pylist()


def test_documents_without_text_are_null_and_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = file_of(tmp_path, labels(40))
    batch = pa.record_batch({"text": pa.array([None, "  ", prose(77)], pa.string())})
    before = quality_model(batch, labels=str(file))["quality_model"].to_pylist()
    assert before[:2] == [None, None]
    assert before[2] > 0.5
    file_of(tmp_path, [Label(line=x.line, id=None, text=x.text, keep=not x.keep) for x in labels(41)])
    assert quality_model(batch, labels=str(file))["quality_model"].to_pylist()[2] < 0.5


def test_the_report_is_honest_about_labels_that_say_nothing() -> None:
    draw = random.Random(3)
    noise = [Label(line=i, id=None, text=prose(i), keep=draw.random() < 0.5) for i in range(60)]
    report = train(noise).report
    low, high = report["auc_interval"]
    assert low < 0.5 < high
    assert report["brier"] > 0.2
    good = train(labels(60)).report
    assert good["auc"] > 0.95
    assert good["auc_interval"][0] > 0.85
    assert sum(part["labels"] for part in good["calibration"]) == good["labels"] == 60


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (labels(19), "9 labels to keep and 10 to drop are too few"),
        ([x for x in labels(60) if x.keep], "30 labels to keep and 0 to drop"),
        ([x for x in labels(60) if x.keep] + labels(2), "lamina data labels chooses"),
        ([{"keep": True}], "needs 'id' or 'text'"),
        ([{"text": "x", "keep": "yes"}], "true, false or null, not 'yes'"),
        ([{"text": "x"}], "an object with 'keep'"),
        ([{"id": "a", "keep": True}] * 3, "1 labelled documents are not known (line 3)"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_before_any_work(
    tmp_path: Path, rows: list[Label] | list[dict[str, Any]], words: str
) -> None:
    step = {"signal": "quality_model", "labels": str(file_of(tmp_path, rows))}
    with pytest.raises(ConfigError) as caught:
        plan([step])
    assert words in str(caught.value)


def test_a_file_that_is_not_there_or_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*lamina data labels"):
        plan([{"signal": "quality_model", "labels": str(tmp_path / "x.jsonl")}])
    (tmp_path / "x.jsonl").write_text('{"text": "a", "keep": true}\n{"text": "b"')
    with pytest.raises(ConfigError, match=r"x\.jsonl:2: is not JSON"):
        read_labels(tmp_path / "x.jsonl")


def test_the_later_of_two_labels_counts_and_null_is_none(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "keep": True},
        {"id": "b", "text": "bee", "keep": None},
        {"id": "a", "keep": False},
        {"text": "t", "keep": True},
    ]
    file = file_of(tmp_path, rows)
    found = read_labels(file)
    assert [(x.id, x.text, x.keep) for x in found] == [("a", None, False), (None, "t", True)]
    assert unlabelled(file) == 1
    whole = with_texts(found, {"a": "ay"}, "f")
    file.write_bytes(written(whole))
    assert [(x.id, x.text, x.keep) for x in read_labels(file)] == [("a", "ay", False), (None, "t", True)]


def test_rows_are_of_length_one_and_products_are_those_of_dense_rows() -> None:
    found = features([prose(1), junk(2), "", "a"])
    dense = np.zeros((4, 1 << 18))
    for row in range(4):
        for k in range(found.bounds[row], found.bounds[row + 1]):
            dense[row, found.ids[k]] += found.values[k]
    assert (dense**2).sum(axis=1) == pytest.approx([1, 1, 0, 1], rel=1e-5)
    weights = np.random.default_rng(0).normal(size=1 << 18).astype(np.float32)
    assert found.times(weights) == pytest.approx(dense @ weights, rel=1e-4, abs=1e-6)
    assert found.likeness() == pytest.approx(dense @ dense.T, rel=1e-4, abs=1e-6)
    assert found.weighed(np.array([1.0, -2.0, 3.0, 0.5])) == pytest.approx(
        np.array([1, -2, 3, 0.5]) @ dense, rel=1e-4, abs=1e-6
    )


def test_numbers_cases_and_spaces_of_characters_do_not_matter_words_do() -> None:
    same = features(["AB 12  cd", "ab 98 CD"]).likeness()
    assert 0 < same[0, 1] < 1


def test_the_solution_is_where_the_gradient_ends() -> None:
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(40, 5))
    wanted = (rows[:, 0] + draw.normal(size=40) > 0).astype(float)
    alpha, offset = _solve(rows @ rows.T, wanted, 0.1)
    chance = 1 / (1 + np.exp(-(rows @ rows.T @ alpha + offset)))
    weights = rows.T @ alpha
    assert rows.T @ (chance - wanted) + 0.1 * weights == pytest.approx(np.zeros(5), abs=1e-5)
    assert (chance - wanted).sum() == pytest.approx(0, abs=1e-5)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    draw = np.random.default_rng(2)
    scores, wanted = draw.integers(0, 6, 50).astype(float), draw.integers(0, 2, 50).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[wanted > 0] for b in scores[wanted == 0]]
    assert auc(scores, wanted) == pytest.approx(np.mean(pairs))
