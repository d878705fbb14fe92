"""nlpaug, TextAttack or Lamina over a part of some texts, in memory: `peer_augment.py PEER JSON`, by its interpreter.

JSON: operations, copies, alpha, file (Parquet, column text), part, of, work. Prints a JSON object: seconds, children.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

BATCH = 500  # texts that Lamina gets at a time


def nlpaug(operation: str, copies: int, alpha: float) -> Callable[[str], list[str]]:
    """One of its augmenters; it gives ``copies`` texts a call."""
    import nlpaug.augmenter.word as augmenters

    made = {
        "synonyms": lambda: augmenters.SynonymAug(aug_src="wordnet", aug_p=alpha, aug_max=None),
        "swap": lambda: augmenters.RandomWordAug(action="swap", aug_p=alpha, aug_max=None),
        "deletion": lambda: augmenters.RandomWordAug(action="delete", aug_p=alpha, aug_max=None),
    }[operation]()
    return lambda text: made.augment(text, n=copies)


def textattack(operation: str, copies: int, alpha: float) -> Callable[[str], list[str]]:
    """One of its recipes."""
    from textattack.augmentation import recipes

    kind: Any = {
        "synonyms": recipes.WordNetAugmenter,
        "insertion": recipes.SynonymInsertionAugmenter,
        "swap": recipes.SwapAugmenter,
        "deletion": recipes.DeletionAugmenter,
    }[operation]
    return kind(pct_words_to_swap=alpha, transformations_per_example=copies).augment


def lamina(operation: str, copies: int, alpha: float, work: str) -> Callable[[list[str]], int]:
    """One of our operations over batches of texts, each child with the edits that made it."""
    from pathlib import Path

    import pyarrow as pa
    from data_augment import tables  # beside this file

    from lamina.data.augment.plan import plan_augment
    from lamina.kit.registry import AUGMENTERS

    (planned,) = plan_augment(tables([operation], copies=copies, alpha=alpha), work=Path(work))
    function = AUGMENTERS.get(operation).function

    def make(texts: list[str]) -> int:
        count = 0
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            ids = [str(number) for number in range(len(some))]
            batch = pa.RecordBatch.from_pydict({"id": ids, "text": some, "language": ["en"] * len(some)})
            count += len(function(batch, copies=copies, seed=0, **planned.parameters)["text"].to_pylist())
        return count

    return make


def main(peer: str, told: dict[str, Any]) -> None:
    """Make the children of this part's texts."""
    texts = pq.read_table(told["file"], columns=["text"])["text"].to_pylist()[told["part"] :: told["of"]]
    makers = [_maker(peer, name, told) for name in told["operations"]]
    for make in makers:
        make(["The quick brown fox jumps over the lazy dog by the old river, again and again."])
    begin = time.perf_counter()
    children = sum(make(texts) for make in makers)
    print(json.dumps({"seconds": time.perf_counter() - begin, "children": children}))


def _maker(peer: str, operation: str, told: dict[str, Any]) -> Callable[[list[str]], int]:
    if peer == "lamina":
        return lamina(operation, told["copies"], told["alpha"], told["work"])
    one = {"nlpaug": nlpaug, "textattack": textattack}[peer](operation, told["copies"], told["alpha"])
    return lambda texts: sum(len(one(text)) for text in texts)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
