"""From a corpus to labels, from labels to a classifier and to thresholds: as the command line does it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lamina.kit.errors import ConfigError, NotFoundError
from lamina.recipes.corpus_tools import corpus_folder, what_if
from lamina.recipes.labels import labels
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import build_data

SUBJECTS = ["The captain", "An old sailor", "The keeper", "Our cook", "The youngest"]
STEPS = (
    '[[data.steps]]\nsignal = "quality"\n[[data.steps]]\ndecide = "words >= 5"\nreason = "short"\n'
    '[[data.steps]]\ndecide = "hashes_per_word <= 0.9"\nreason = "signs"\n'
)
MODEL = '[[data.steps]]\nsignal = "quality_model"\nlabels = "labels.jsonl"\n'


def stack_of(folder: Path, steps: str) -> Stack:
    head = 'name = "x"\n[data]\nworkers = 1\n[[data.sources]]\nuse = "files"\nfrom = "docs"\n'
    (folder / "lamina.toml").write_text(head + steps)
    return open_stack(folder / "lamina.toml")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "docs").mkdir()
    for n in range(80):
        prose = " ".join(f"{SUBJECTS[(n + k) % 5]} watched the water for {n + k} days." for k in range(4))
        menu = "\n".join(f"{n + k} Home | Login | Share #" for k in range(6))
        (tmp_path / "docs" / f"{n}.txt").write_text(prose if n % 2 else menu if n % 4 else f"so {n}")
    stack = stack_of(tmp_path, STEPS)
    build_data(stack, json=True)
    return stack


def test_documents_are_chosen_labelled_and_learned_from(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    assert "24 documents added" in labels(stack, file, count=24)
    assert "24 documents in" in labels(stack, file, count=24)  # nothing is added while they wait
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == 24
    for row in rows:
        row["keep"] = row["text"].endswith("days.")
    file.write_text("\n".join(json.dumps(row) for row in rows))  # no line end at the end: an editor's way
    found = labels(stack, file, count=4, as_json=True)
    assert (found["labels"], found["added"]) == (24, 4)
    assert found["report"]["auc"] > 0.9
    assert len(file.read_text().splitlines()) == 28
    words = what_if(stack, ["short: words >= 2"], labels=file)
    assert "24 labels:" in words
    fitted = what_if(stack, [], labels=file, as_json=True)["fitted"]
    assert fitted["together"]["recall"] > fitted["now"]["recall"]
    json.dumps(fitted)
    # The same labels with ids alone get their texts from the corpus, and the next corpus has the classifier's figures.
    short = [{"id": row["id"], "keep": row["keep"]} for row in rows]
    file.write_text("\n".join(json.dumps(row) for row in short))
    modelled = stack_of(tmp_path, STEPS + MODEL)
    build_data(modelled, json=True)
    corpus = corpus_folder(modelled)
    documents = [row for part in (corpus / "data").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    good = [row["quality_model"] for row in documents if row["text"].endswith("days.")]
    bad = [row["quality_model"] for row in documents if not row["text"].endswith("days.")]
    assert min(good) > max(bad)


def test_labels_with_ids_alone_need_a_corpus_that_knows_them(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(json.dumps({"id": f"x{n}", "keep": n % 2 == 0}) for n in range(30)))
    with pytest.raises(ConfigError, match="30 labelled documents are not known"):
        build_data(stack_of(tmp_path, STEPS + MODEL), json=True)
    other = tmp_path / "other"
    (other / "docs").mkdir(parents=True)
    (other / "docs" / "a.txt").write_text("words")
    (other / "labels.jsonl").write_bytes(file.read_bytes())
    with pytest.raises(NotFoundError, match="need a corpus to look them up in"):
        build_data(stack_of(other, STEPS + MODEL), json=True)
