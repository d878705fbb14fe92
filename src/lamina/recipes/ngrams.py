"""The n-grams of the training documents, by which a server guesses what follows: made by ``lamina up``, found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.errors import NotFoundError
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.kit.stages import Stage
from lamina.recipes.current import recall

if TYPE_CHECKING:
    from lamina.contracts.lineage import ModelVersion
    from lamina.recipes.stack import Stack

SHELF = "ngrams"


def counts_ngrams(stack: Stack) -> bool:
    """Whether the stack wants them."""
    return stack.deployment.speculate and stack.deployment.ngrams


def ngrams_stage(tokens: Path) -> Stage:
    """The stage that counts them in the token shards of a training split."""
    return Stage(
        name="ngrams",
        shelf=SHELF,
        function="lamina.recipes.ngrams:count",
        inputs={"tokens": tokens},
        versions={"ngrams": 1},
    )


@imports("lamina.data.shards", "lamina.deployment.engine.ngrams")
def count(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The table of n-grams."""
    from lamina.data.shards import Shards
    from lamina.deployment.engine.ngrams import write_ngrams

    shards = Shards(inputs["tokens"] / "documents")
    made_by = {"tokenizer": shards.facts["tokenizer"], "vocabulary": shards.facts["vocabulary"]}
    facts = write_ngrams(staging, shards.stream, shards.ends, **made_by)
    progress.say(f"{facts['entries']:,} n-grams of the documents, by which answers are guessed ahead")


def ngrams_of(stack: Stack, version: ModelVersion) -> Path | None:
    """Where those of ``version`` lie: of the corpus that it learned from, while that is the stack's.

    What documents were forgotten of is the stack's corpus no more, and its n-grams are gone.
    """
    try:
        current = recall(stack)
    except NotFoundError:
        return None
    if current.ngrams is None or version.corpus is None or version.corpus != current.corpus:
        return None
    return stack.state / SHELF / current.ngrams
