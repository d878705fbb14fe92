"""Chat rows made from documents, so that tuning on documents keeps the chat format, the end of an answer, and the
habit of answering from passages. And rows that come as conversations already (feedback), as shards.

Three kinds, each document giving at most one of each: a question on the title and the opening as its answer (a sentence
and the next ones, where there is no title); the same with passages in the context (the document's and others', as
serving quotes them); conversations as they were held.
Only what the assistant says carries loss, its end token included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc

from lamina.contracts.chat import Message
from lamina.contracts.tokens import Rendered, Tokenizer
from lamina.data.parts import read_parts
from lamina.data.questions import Question, about, continuing, conversation, defining, passage, sentences
from lamina.data.shards import Shards, ShardWriter
from lamina.kit.errors import InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress
from lamina.kit.prompts import grounded_system

LIMIT = 4000  # rows, unless more are asked for
CONVERSATION_CHARS = 1200
_CONVERSATIONS = 0.2  # share of the rows; people chat more loosely than an assistant should answer
_NEIGHBOURS = 16  # passages of other documents at hand as company

Turn = Mapping[str, str]


def write_replay(
    corpus: Path,
    folder: Path,
    tokenizer: Tokenizer,
    *,
    seed: int = 0,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Shards:
    """At most ``limit`` chat rows from the training split, as shards; which ones follows from ``seed``.

    Augmented children give none and stand in no context: an assistant should answer in real text, from real passages.
    """
    files = sorted((corpus / "data").glob("train-*.parquet"))
    chosen = _choose(files, seed, limit)
    with ShardWriter(folder, tokenizer, split="train", kind="replay") as writer:
        rows = _rows(files, chosen, seed)
        for id, source, turns in _counted(rows, progress):
            _add(writer, tokenizer, turns, learned_from=0, id=id, source=source)
        return writer.close()


def write_rows(
    rows: Iterable[tuple[Sequence[Turn], Sequence[Turn]]],
    folder: Path,
    tokenizer: Tokenizer,
    *,
    progress: Progress | None = None,
) -> Shards:
    """Pairs of prompt and completion (turns with role and content) as shards; only the completion carries loss."""
    with ShardWriter(folder, tokenizer, split="train", kind="rows") as writer:
        for number, (prompt, completion) in enumerate(_counted(rows, progress)):
            turns = [*_messages(prompt), *_messages(completion)]
            _add(writer, tokenizer, turns, learned_from=len(prompt), id=str(number), source="feedback")
        return writer.close()


def _add(
    writer: ShardWriter, tokenizer: Tokenizer, turns: Sequence[Message], *, learned_from: int, id: str, source: str
) -> None:
    """Render a conversation and write it, unless it teaches nothing or the template refuses it."""
    found = rendered_answer(tokenizer, turns, learned_from)
    if found is not None:
        writer.add(found.ids, found.learned, id=id, source=source)


def rendered_answer(tokenizer: Tokenizer, turns: Sequence[Message], learned_from: int) -> Rendered | None:
    """A conversation of which the assistant's words from turn ``learned_from`` on are learned; None where nothing is
    learned, or the template refuses it."""
    try:
        rendered = tokenizer.render(turns)
        learned = list(rendered.learned)
        if any(turn.role == "assistant" for turn in turns[:learned_from]):
            # Answers that were part of the question are not what is to be learned.
            shown = tokenizer.render(turns[:learned_from], open_answer=True).ids
            same = next((n for n, (a, b) in enumerate(zip(shown, rendered.ids, strict=False)) if a != b), len(shown))
            learned[:same] = [False] * min(same, len(learned))
    except InputError:
        return None
    return Rendered(rendered.ids, learned) if any(learned[1:]) else None


def _choose(files: Sequence[Path], seed: int, limit: int) -> tuple[set[str], set[str]]:
    """Ids of documents to ask about, and of conversations to retell, by the hash of seed and id."""
    import polars as pl

    if not files:
        return set(), set()
    table = (
        pl.scan_parquet(list(files))
        .filter(pl.col("parent_id").is_null())
        .select(
            "id",
            talk=pl.col("meta").str.contains('"messages"', literal=True).fill_null(False),
        )
        .collect()
    )

    def first(ids: list[str], count: int) -> set[str]:
        return set(sorted(ids, key=lambda id: blake3_hex("replay", str(seed), id))[:count])

    documents = table.filter(~pl.col("talk"))["id"].to_list()
    talks = table.filter("talk")["id"].to_list()
    # A document with a title gives two rows.
    share = _CONVERSATIONS if documents else 1.0
    conversations = first(talks, int(min(limit, 2 * len(documents) or limit) * share) or 1)
    return first(documents, max(limit - len(conversations), 0) // 2), conversations


def _rows(
    files: Sequence[Path], chosen: tuple[set[str], set[str]], seed: int
) -> Iterator[tuple[str, str, list[Message]]]:
    """(document, source, turns), a loop over the chosen documents: each row is put into words of its own."""
    asked, retold = chosen
    company: list[tuple[str, str]] = []
    for batch in read_parts(files, ["id", "source", "title", "text", "meta", "parent_id"]):
        for row in batch.filter(pc.is_null(batch.column("parent_id"))).to_pylist():
            if row["id"] in retold:
                turns = conversation(_talk(row["meta"]), CONVERSATION_CHARS)
                if turns:
                    yield row["id"], row["source"], _messages(turns)
            elif row["id"] in asked:
                draw = int(blake3_hex("words", str(seed), row["id"])[:12], 16)
                title = row["title"] or ""
                question = about(title, row["text"], draw)
                plain = question or continuing(row["text"], draw)
                if plain is not None:
                    yield row["id"], row["source"], _asked(plain)
                if question is not None:
                    yield row["id"], row["source"], _grounded(title, row["text"], question, company, draw)
                company = [(title, passage(row["text"])), *company][:_NEIGHBOURS]


def _asked(question: Question) -> list[Message]:
    return [Message("user", question.question), Message("assistant", question.answer)]


def _grounded(
    title: str, text: str, question: Question, company: Sequence[tuple[str, str]], draw: int
) -> list[Message]:
    """Passages, this document's among up to two others', and a question that its first sentence answers."""
    asked = defining(title, text) or Question(question.question, sentences(text)[0])
    others = [company[(draw >> 8) % len(company)], company[(draw >> 12) % len(company)]] if company else []
    others = [other for other in dict.fromkeys(others) if other[0] != title][: draw % 3]
    quoted = list(others)
    quoted.insert((draw >> 4) % (len(others) + 1), (title, passage(text)))
    system = grounded_system([(number, name, said) for number, (name, said) in enumerate(quoted, 1)])
    return [Message("system", system), Message("user", asked.question), Message("assistant", asked.answer)]


def _talk(meta: str | None) -> list[dict[str, str]]:
    try:
        found = orjson.loads(meta or "{}").get("messages", [])
    except (orjson.JSONDecodeError, AttributeError):
        return []
    return [turn for turn in found if isinstance(turn, dict)] if isinstance(found, list) else []


def _messages(turns: Sequence[Turn]) -> list[Message]:
    roles: Any = [turn["role"] for turn in turns]  # one that is none is for the chat template to refuse
    return [Message(role, turn["content"]) for role, turn in zip(roles, turns, strict=True)]


def _counted(rows: Iterable[Any], progress: Progress | None) -> Iterator[Any]:
    if progress is None:
        yield from rows
        return
    with progress.task("chat rows", total=None, unit="rows") as task:
        for row in rows:
            yield row
            task.advance()
