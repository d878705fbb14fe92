"""nlpaug or TextAttack over a part of some texts: `peer_augment.py PEER JSON`, by the interpreter in `.bench/PEER`.

JSON: operations, copies, alpha, file (Parquet, column text), part, of. Prints a JSON object: seconds, children.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq


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


def main(peer: str, told: dict[str, Any]) -> None:
    """Make the children of this part's texts."""
    texts = pq.read_table(told["file"], columns=["text"])["text"].to_pylist()[told["part"] :: told["of"]]
    makers = [globals()[peer](name, told["copies"], told["alpha"]) for name in told["operations"]]
    for make in makers:
        make("The quick brown fox jumps over the lazy dog by the old river, again and again.")
    begin = time.perf_counter()
    children = sum(len(make(text)) for make in makers for text in texts)
    print(json.dumps({"seconds": time.perf_counter() - begin, "children": children}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
