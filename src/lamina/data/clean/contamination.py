"""Which documents of a built corpus hold the questions that its models are judged by; nothing is dropped.

The questions are about the documents, so that documents say their answers, and should. What counts is the question
itself, told by its 5-grams of words as in the pass ``decontaminate`` (rule "coverage"): a file of questions that was
collected with the rest, a page that quotes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from lamina.data.duplicates.items import Item, Items, Rule, words_of_texts
from lamina.data.duplicates.sketch import utf8
from lamina.data.parts import read_parts

_WORDS = 5  # of an n-gram
_THRESHOLD, _WINDOW = 0.8, 50  # as the pass has them
_NAMED = 3  # documents in the line


class Holder(TypedDict):
    """A document that holds questions, with the one of which it has most."""

    id: str
    source: str
    split: str
    questions: int
    question: str
    score: float  # share of its n-grams, weighted by how few questions have them
    answer: str | None  # an accepted answer that stands near it


class Contamination(TypedDict):
    """What was found of a set of questions."""

    set: str
    questions: int
    too_short: int  # of fewer than five words: they were not looked for
    searched: int  # documents
    held: int  # questions that a document holds
    with_answer: int  # documents
    by_source: dict[str, int]  # documents
    documents: list[Holder]  # those with the most questions first


def contamination(corpus: Path, items: Sequence[Item], *, name: str) -> Contamination:
    """Look for ``items`` in all documents of the corpus folder, held-out ones too: answers may quote any of them.

    ``name`` is what the set is called.
    """
    files = sorted((corpus / "data").glob("*.parquet"))
    search = _Search(items)
    searched = 0
    found: list[Holder] = []
    for batch in read_parts(files, ["id", "source", "split", "text"]):
        searched += batch.num_rows
        found += search.holders(batch)
    found.sort(key=lambda h: (-h["questions"], h["answer"] is None, -h["score"], h["id"]))
    return Contamination(
        set=name,
        questions=len(items),
        too_short=search.too_short,
        searched=searched,
        held=len(search.held),
        with_answer=sum(h["answer"] is not None for h in found),
        by_source=dict(Counter(h["source"] for h in found).most_common()),
        documents=found,
    )


def in_words(found: Mapping[str, Any]) -> str:
    """A sentence of a ``Contamination``, for the printed report and for the page."""
    few = found["too_short"]
    short = f"; {few:,} have fewer than {_WORDS} words and were not looked for" if few else ""
    asked = f"{found['questions']:,} questions of {found['set']}"
    holders = found["documents"]
    if not holders:
        return f"no document holds one of the {asked}{short}"
    many = "1 document holds" if len(holders) == 1 else f"{len(holders):,} documents hold"
    sources = ", ".join(f"{source} {count:,}" for source, count in list(found["by_source"].items())[:4])
    named = ", ".join(h["id"] for h in holders[:_NAMED]) + (", …" if len(holders) > _NAMED else "")
    return (
        f"{many} {found['held']:,} of the {asked}, {found['with_answer']:,} with an answer beside it"
        f" ({sources}: {named}); nothing was dropped{short}"
    )


class _Search:
    """Questions by themselves, and again with an answer near them."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._alone, self._answered = (Items(items, _rule(near=near)) for near in (False, True))
        self.too_short = self._alone.too_short
        self.held: set[int] = set()

    def holders(self, batch: pa.RecordBatch) -> Iterator[Holder]:
        """The documents of a batch that hold questions. A loop over suspects: there are few."""
        if not self._alone.items:
            return
        texts = batch.column("text")
        rows: dict[int, list[int]] = {}
        for row, item in self._alone.suspects(*utf8(texts)).tolist():
            rows.setdefault(row, []).append(item)
        for row, some in rows.items():
            words, _ = words_of_texts([texts[row].as_py() or ""])
            judged = {item: evidence for item in some if (evidence := self._alone.judge(words, item))}
            if not judged:
                continue
            self.held.update(judged)
            answered = [evidence for item in judged if (evidence := self._answered.judge(words, item))]
            best = max([e for e in answered if e.get("answer")] or judged.values(), key=lambda e: float(e["score"]))
            yield Holder(
                id=batch["id"][row].as_py(),
                source=batch["source"][row].as_py(),
                split=batch["split"][row].as_py(),
                questions=len(judged),
                question=best["question"],
                score=best["score"],
                answer=best.get("answer"),
            )


def _rule(*, near: bool) -> Rule:
    return Rule(name="coverage", n=_WORDS, threshold=_THRESHOLD, window=_WINDOW, near=near)


def as_item(name: str, number: int, row: dict[str, Any]) -> Item:
    """A question (``{"question", "answers"}``) of the set called ``name``."""
    return Item(set=name, name=str(number), question=row["question"], answers=tuple(row["answers"]))
