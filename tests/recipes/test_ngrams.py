"""N-grams of the documents: whose they are, and when a stack has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lamina.contracts.lineage import ModelVersion
from lamina.data.shards import ShardWriter
from lamina.deployment.engine.ngrams import Ngrams
from lamina.kit.durable import publish
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.kit.tokenizer_identity import fingerprint
from lamina.recipes.current import Current, remember
from lamina.recipes.ngrams import counts_ngrams, ngrams_of, ngrams_stage
from lamina.recipes.stack import open_stack

STACK = 'name = "s"\n[[data.sources]]\nuse = "files"\nfrom = "docs"\n[model]\nbase = "b"\n[deployment]\n'
VERSION = ModelVersion(
    id="v1", digest="d", parent=None, run="r", corpus="c1", snapshot=None, role="documents", metrics={},
    created=datetime.now(UTC),
)  # fmt: skip


class Letters:
    vocabulary, end_ids = 30, (0,)

    def encode(self, text: str) -> list[int]:
        return [1 + ord(letter) % 26 for letter in text]


def opened(folder: Path, more: str = ""):
    (folder / "lamina.toml").write_text(STACK + more)
    return open_stack(folder / "lamina.toml")


def test_counted_in_the_training_split_and_found_by_its_corpus(tmp_path: Path) -> None:
    stack, place = opened(tmp_path), tmp_path / ".lamina" / "tokens" / "t1"
    assert ngrams_of(stack, VERSION) is None, "nothing was built yet"
    with publish(place) as staging, ShardWriter(staging / "documents", Letters()) as writer:
        for number in range(3):
            writer.add([0, 5, 6, 7, 8, 0], [True] * 6, id=str(number), source="s")
        writer.close()
    workshop = Workshop(stack.state, open_progress("quiet"))
    made = workshop.run(ngrams_stage(place))
    assert workshop.run(ngrams_stage(place)) == made
    remember(stack, Current(corpus="c1", tokens="t1", ngrams=made.name))
    found = Ngrams(ngrams_of(stack, VERSION))
    assert found.follower([5, 6, 7]) == 8
    assert found.tokenizer == fingerprint(Letters())
    assert ngrams_of(stack, replace(VERSION, corpus="c0")) is None, "it learned from other documents"
    assert ngrams_of(stack, replace(VERSION, corpus=None)) is None
    remember(stack, Current(corpus="c2", tokens=None, ngrams=None))
    assert ngrams_of(stack, VERSION) is None, "some of its documents were forgotten"


def test_only_where_the_stack_guesses_by_them(tmp_path: Path) -> None:
    assert counts_ngrams(opened(tmp_path))
    assert not counts_ngrams(opened(tmp_path, "ngrams = false\n"))
    assert not counts_ngrams(opened(tmp_path, "speculate = false\n"))
