"""The passages of a corpus, in an index that finds those that cover what a query means (SQLite FTS5).

Documents are cut at sentence and paragraph borders into passages of 120 to 180 words that tile the text, so that the
document can be put together again. Candidates come by BM25; what counts is coverage: the share of the query's
content words, weighted by rarity, that stand in the passage or its title. Where no passage covers enough alone, words
in those around it count in part: a text names what it is about once, and goes on with "he" and "there".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from lamina.contracts.inference import Passage
from lamina.interface.grounding.words import content_words, unspaced, words
from lamina.kit.database import Database
from lamina.kit.progress import Progress

FILE = "passages.db"
MIGRATIONS = (
    """
    CREATE TABLE document (
        id TEXT PRIMARY KEY, title TEXT, author TEXT, url TEXT, source TEXT, license TEXT, created TEXT);
    CREATE TABLE passage (
        number INTEGER PRIMARY KEY, document TEXT NOT NULL, start INTEGER NOT NULL, text TEXT NOT NULL);
    CREATE INDEX passage_document ON passage (document, start);
    CREATE VIRTUAL TABLE terms USING fts5(
        title, body, content='', tokenize="unicode61 remove_diacritics 0");
    CREATE VIRTUAL TABLE vocabulary USING fts5vocab(terms, 'row');
    """,
)
_COLUMNS = ("id", "title", "author", "url", "source", "license", "created", "text")
_MIN_WORDS, _MAX_WORDS, _TAIL_WORDS = 120, 180, 40
_SENTENCE_END = re.compile(r"""\n\s*\n\s*|(?<=[.!?…])["'”’»)\]]*\s+|(?<=[。！？])""")
_SPACED_WORD = re.compile(r"\S+\s*")
_CANDIDATES = 48
_MAX_TERMS = 32
_DOCUMENTS_A_WRITE = 256
#: A passage is relevant when it covers at least this share of the query's meaning.
THRESHOLD = 0.58
_SAME = 0.8  # Jaccard similarity from which two passages say the same
_NEAR_BEST = 0.7  # and at least this share of what the best one covers
_AROUND = 2  # passages before and behind that one is understood with
_SHARE_AROUND = 0.6  # of a word's weight where it stands in one of them only
_LEAST_ALONE = 0.3  # share of the query's meaning that must stand in the passage itself
_COMMON = 0.3  # words in a larger share of passages than this find no candidates


def split_passages(text: str) -> list[tuple[int, str]]:
    """``(start, piece)`` of pieces that tile ``text``; ``start`` in characters."""
    pieces: list[tuple[int, str, int]] = []  # start, text, words
    begin = size = 0
    for start, unit, count in _units(text):
        if size and (size >= _MIN_WORDS or size + count > _MAX_WORDS):
            pieces.append((begin, text[begin:start], size))
            begin, size = start, 0
        size += count
        if size >= _MIN_WORDS and unit.endswith("\n\n"):
            pieces.append((begin, text[begin : start + len(unit)], size))
            begin, size = start + len(unit), 0
    if begin < len(text):
        if pieces and size < _TAIL_WORDS:
            begin, _, _ = pieces.pop()
        pieces.append((begin, text[begin:], size))
    return [(start, piece) for start, piece, _ in pieces]


def _units(text: str) -> Iterator[tuple[int, str, int]]:
    """Sentences with the space after them, as ``(start, unit, words)``; a very long one is cut between words."""
    begin = 0
    ends = [m.end() for m in _SENTENCE_END.finditer(text) if m.end() > 0]
    for end in [*ends, len(text)]:
        if end <= begin:
            continue
        unit = text[begin:end]
        count = _count(unit)
        if count <= _MAX_WORDS:
            yield begin, unit, count
        else:
            yield from _cut(begin, unit)
        begin = end


def _cut(begin: int, unit: str) -> Iterator[tuple[int, str, int]]:
    at, size = 0, 0
    for match in _SPACED_WORD.finditer(unit):
        step = _count(match[0])
        if size and size + step > _MAX_WORDS:
            yield begin + at, unit[at : match.start()], size
            at, size = match.start(), 0
        if step > _MAX_WORDS:  # a script without spaces, or no language at all
            width = max(1, len(match[0]) * _MAX_WORDS // step)
            while match.end() - at > width:
                yield begin + at, unit[at : at + width], _MAX_WORDS
                at += width
            step = _count(unit[at : match.end()])
        size += step
    if at < len(unit):
        yield begin + at, unit[at:], size


def _count(text: str) -> int:
    """Words; two characters of a script without spaces are one, and no word has more than twelve characters."""
    return max(len(text.split()), len(text) // 12, unspaced(text) // 2)


def build_index(batches: Iterable[pa.RecordBatch], staging: Path, *, progress: Progress | None = None) -> int:
    """Index documents (``contracts.corpus.DOCUMENTS`` columns) in the folder ``staging``; the number of passages."""
    database = Database.open(staging / FILE)
    try:
        database.migrate("passages", MIGRATIONS)
        number = 0
        rows = _documents(batches)
        while part := list(islice(rows, _DOCUMENTS_A_WRITE)):
            number = _write(database, part, number)
        database.transact(lambda cursor: cursor.write("INSERT INTO terms(terms) VALUES ('optimize')"))
        if progress is not None:
            progress.say(f"{number} passages can be found")
        return number
    finally:
        database.close()


def _documents(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for batch in batches:
        known = [name for name in _COLUMNS if name in batch.schema.names]
        if "parent_id" in batch.schema.names:
            known.append("parent_id")
        for row in batch.select(known).to_pylist():
            # An augmented row would quote what nobody wrote.
            if row.get("text") and not row.get("parent_id") and row["id"] not in seen:
                seen.add(row["id"])
                yield row


def _write(database: Database, rows: Sequence[dict[str, Any]], number: int) -> int:
    documents, passages, terms = [], [], []
    for row in rows:
        created = row.get("created")
        facts: dict[str, Any] = {name: row.get(name) for name in _COLUMNS[:-2]}
        documents.append(facts | {"created": created.isoformat() if isinstance(created, datetime) else created})
        title = " ".join(words(row.get("title") or ""))
        for start, piece in split_passages(row["text"]):
            number += 1
            passages.append({"number": number, "document": row["id"], "start": start, "text": piece})
            terms.append({"number": number, "title": title, "body": " ".join(words(piece))})
    database.write(
        ("INSERT INTO document VALUES (:id, :title, :author, :url, :source, :license, :created)", documents),
        ("INSERT INTO passage VALUES (:number, :document, :start, :text)", passages),
        ("INSERT INTO terms (rowid, title, body) VALUES (:number, :title, :body)", terms),
    )
    return number


class PassageIndex:
    """A published index: ``contracts.Retriever`` over documents, and the documents themselves."""

    def __init__(self, folder: Path, *, threshold: float = THRESHOLD) -> None:
        self._database = Database.open(folder / FILE, read_only=True)
        self._threshold = threshold
        self.size = int(self._database.read("SELECT COUNT(*) AS n FROM passage")[0]["n"])

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def weights(self, terms: Sequence[str]) -> dict[str, float]:
        """How rare each term is: BM25's inverse document frequency, nats; the most for one that never occurs."""
        return {t: math.log1p((self.size - n + 0.5) / (n + 0.5)) for t, n in self._frequencies(terms).items()}

    def _frequencies(self, terms: Sequence[str]) -> dict[str, int]:
        if not terms:
            return {}
        sql = " UNION ALL ".join(f"SELECT term, doc FROM vocabulary WHERE term = :t{i}" for i in range(len(terms)))
        rows = self._database.read(sql, **{f"t{i}": term for i, term in enumerate(terms)})
        return dict.fromkeys(terms, 0) | {r["term"]: int(r["doc"]) for r in rows}

    def search(self, query: str, k: int) -> list[Passage]:
        """At most ``k`` passages that cover enough of ``query``, best first; near-identical ones once."""
        terms = content_words(query)[:_MAX_TERMS]
        if not terms or k < 1 or not self.size:
            return []
        frequencies = self._frequencies(terms)
        weights = {t: math.log1p((self.size - n + 0.5) / (n + 0.5)) for t, n in frequencies.items()}
        present = [t for t in terms if frequencies[t]]
        rare = [t for t in present if frequencies[t] <= max(_COMMON * self.size, 20)] or present
        if not rare:
            return []
        rows = self._candidates(rare)
        return self._best(rows, weights, k) or self._best(rows, weights, k, around=True)

    def _candidates(self, terms: Sequence[str]) -> list[dict[str, Any]]:
        match = " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
        return self._database.read(
            "SELECT p.number, p.document, p.start, p.text, d.title, d.url, d.source, d.license, f.rank AS bm25 FROM "
            "(SELECT rowid AS number, bm25(terms, 2.0, 1.0) AS rank FROM terms WHERE terms MATCH :match "
            "ORDER BY rank LIMIT :limit) f JOIN passage p ON p.number = f.number JOIN document d ON d.id = p.document "
            "ORDER BY f.rank",
            match=match,
            limit=_CANDIDATES,
        )

    def _best(
        self, rows: Sequence[Mapping[str, Any]], weights: Mapping[str, float], k: int, *, around: bool = False
    ) -> list[Passage]:
        total = sum(weights.values())
        top = max((-row["bm25"] for row in rows), default=0.0) or 1.0
        scored: list[tuple[float, Mapping[str, Any], set[str]]] = []
        for row in rows:
            body = set(words(row["text"]))
            has = body | set(words(row["title"] or ""))
            score = sum(w for t, w in weights.items() if t in has) / total
            if around and score >= _LEAST_ALONE:
                near = self._around(row) - has
                score += _SHARE_AROUND * sum(w for t, w in weights.items() if t in near) / total
            scored.append((score, row, body))
        least = max([self._threshold, *(_NEAR_BEST * score for score, _, _ in scored)])
        ranked = [(s - 0.3 * row["bm25"] / top, _passage(row, s), body) for s, row, body in scored if s >= least]
        ranked.sort(key=lambda item: -item[0])
        kept: list[tuple[Passage, set[str]]] = []
        for _, passage, body in ranked:
            if len(kept) < k and not any(_same(body, other) for _, other in kept):
                kept.append((passage, body))
        return [passage for passage, _ in kept]

    def _around(self, row: Mapping[str, Any]) -> set[str]:
        """The words of the passages around one, in its document."""
        near = self._database.read(
            "SELECT text FROM passage WHERE document = :document AND number BETWEEN :first AND :last",
            document=row["document"],
            first=row["number"] - _AROUND,
            last=row["number"] + _AROUND,
        )
        return {word for passage in near for word in words(passage["text"])}

    def passage(self, document: str, start: int) -> Passage | None:
        """The passage of ``document`` that a search gave with this ``start``; its score is not told."""
        rows = self._database.read(
            "SELECT p.document, p.start, p.text, d.title, d.url, d.source, d.license FROM passage p "
            "JOIN document d ON d.id = p.document WHERE p.document = :id AND p.start <= :start "
            "ORDER BY p.start DESC LIMIT 1",
            id=document,
            start=start,
        )
        found = _passage(rows[0], 0.0) if rows else None
        return found if found is not None and found.start == start else None

    def document(self, id: str) -> Mapping[str, Any] | None:
        """The document with its whole text."""
        rows = self._database.read("SELECT * FROM document WHERE id = :id", id=id)
        if not rows:
            return None
        pieces = self._database.read("SELECT text FROM passage WHERE document = :id ORDER BY start", id=id)
        return {**rows[0], "text": "".join(p["text"] for p in pieces)}


def _same(one: set[str], other: set[str]) -> bool:
    return len(one & other) >= _SAME * len(one | other)


def _passage(row: Mapping[str, Any], score: float) -> Passage:
    text = row["text"]
    return Passage(
        kind="document",
        document_id=row["document"],
        text=text.strip(),
        score=min(1.0, score),
        start=row["start"] + len(text) - len(text.lstrip()),
        title=row["title"],
        url=row["url"],
        source=row["source"],
        license=row["license"],
    )
