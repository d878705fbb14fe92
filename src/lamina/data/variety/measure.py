"""The variety of a corpus, measured: ``variety.json`` and ``clusters.parquet`` beside its documents.

Two readings of the texts, whatever their number, and a sample; a minute for a million documents. The same seed gives
the same figures for every order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.duplicates.folding import folding
from lamina.data.duplicates.sketch import utf8
from lamina.data.parts import PartWriter
from lamina.data.variety import scores
from lamina.data.variety.embedding import HEAD, Embedding, HashedWords
from lamina.data.variety.gaps import gaps
from lamina.data.variety.near import ALIKE, NearDuplicates
from lamina.data.variety.reading import FACETS, Gathered, array_of, gather
from lamina.data.variety.topics import Topics, find_topics, places
from lamina.data.variety.walk import walk
from lamina.kit.errors import InputError
from lamina.kit.progress import Progress

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
SAMPLE = 20_000
COMPARED = 1_000  # documents of the Vendi score, which depends on their number
CLUSTERS = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("cluster", pa.int16(), nullable=False)])
_LISTED = 30  # groups of a facet
_SLICE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``variety`` is what is written down (see ``docs/how-to/variety.md``); the rest is for comparing with others.

    ``sample``: the sampled documents; ``vectors`` (N, D) theirs under ``embedding``.
    """

    variety: dict[str, Any]
    sample: pl.DataFrame
    vectors: NDArray[np.float32]
    embedding: Embedding
    topics: Topics


def write_variety(corpus: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Measure the corpus in a folder and write ``variety.json`` and ``clusters.parquet`` (id, number of its topic)."""
    with PartWriter(corpus / "clusters.parquet", CLUSTERS) as clusters:
        found = measure(data_files(corpus), clusters=clusters, progress=progress).variety
    (corpus / "variety.json").write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return found


def read_variety(corpus: Path) -> dict[str, Any] | None:
    """What was measured of a corpus; None where nothing was."""
    file = corpus / "variety.json"
    return dict(orjson.loads(file.read_bytes())) if file.is_file() else None


def data_files(corpus: Path) -> list[Path]:
    """The documents of a corpus, both splits."""
    return sorted((corpus / "data").glob("*.parquet"))


def measure(
    files: Sequence[Path],
    *,
    embedding: Embedding | None = None,
    clusters: PartWriter | None = None,
    whole: bool = True,
    seed: int = 0,
    size: int = SAMPLE,
    topics: int | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Measure the documents in Parquet ``files``.

    ``embedding``: hashed words of these documents, unless another is given. With ``whole`` every document gets its
    topic (written to ``clusters``) and is looked at for near duplicates; without, the sample alone. Raises
    ``InputError`` where there is no document.
    """
    gathered = gather(files, size=size, seed=seed, keys=whole, progress=progress)
    if not gathered.documents:
        raise InputError("there is no document to measure", where=", ".join(str(f) for f in files[:3]) or "corpus")
    texts = gathered.texts
    chosen = embedding or HashedWords.fit(texts)
    vectors = chosen.of(texts, gathered.sample["row"].to_numpy())
    found = find_topics(vectors, gathered.sample["text"], seed=seed, topics=topics)
    counts = _count(found.labels, gathered.sample["characters"].to_numpy(), len(found.words))
    variety: dict[str, Any] = {
        "format": FORMAT,
        "documents": gathered.documents,
        "characters": gathered.characters,
        "seed": seed,
        "sample": gathered.sample.height,
        "embedding": chosen.name,
        "shares": {facet: _shares(gathered.counts[facet]) for facet in FACETS},
        **_of_texts(gathered),
        "vendi": vendi_scores(vectors),
    }
    if whole:
        counts, variety["near_duplicates"] = _everything(files, gathered, chosen, found, clusters, progress)
    variety["topics"] = _topics(found, counts)
    variety["shares"]["topic"] = _topic_shares(variety["topics"])
    variety["collected"] = gathered.collected
    variety["gaps"] = gaps(variety)
    return Measured(variety=variety, sample=gathered.sample, vectors=vectors, embedding=chosen, topics=found)


def vendi_scores(vectors: NDArray[np.float32], documents: int = COMPARED) -> dict[str, float | int]:
    """The Vendi scores of order 1 and 2 of the first ``documents`` vectors that are not zero."""
    rows = vectors[np.flatnonzero(vectors.any(axis=1))[:documents]]
    first, second = scores.vendi(rows, 1.0, 2.0)
    return {
        "documents": len(rows),
        "dimensions": vectors.shape[1],
        "order_1": round(first, 2),
        "order_2": round(second, 2),
    }


def _shares(table: pl.DataFrame) -> dict[str, Any]:
    """The groups of a facet; effective numbers are of what is known."""
    known, unknown = table.drop_nulls("name"), table.filter(table["name"].is_null())
    rest = known.slice(_LISTED)
    return {
        "groups": known.head(_LISTED).to_dicts(),
        "distinct": known.height,
        "others": {"documents": int(rest["documents"].sum()), "characters": int(rest["characters"].sum())},
        "unknown": {"documents": int(unknown["documents"].sum()), "characters": int(unknown["characters"].sum())},
        "effective": {n: round(scores.effective_number(known[n]), 3) for n in ("documents", "characters")},
    }


def _of_texts(gathered: Gathered) -> dict[str, Any]:
    """What the words of the sample say."""
    pieces = _pieces(gathered)
    distinct = {}
    for n in (1, 2, 3):
        mean, spread, words = scores.distinct(pieces, n)
        distinct[str(n)] = {"mean": round(mean, 4), "spread": round(spread, 4), "words": words}
    return {
        "distinct": distinct,
        "compression_ratio": round(scores.compression_ratio(gathered.sample["text"].fill_null("").to_list()), 3),
        "self_repetition": round(scores.self_repetition(pieces), 3),
    }


def _pieces(gathered: Gathered) -> list[NDArray[np.uint64]]:
    """A stretch of words of each sampled document, as many as the scores need."""
    from lamina.data.variety import kernels

    fold = folding()
    found: list[NDArray[np.uint64]] = []
    enough = 0
    for begin in range(0, gathered.sample.height, _SLICE):
        part = gathered.sample.slice(begin, _SLICE)
        data, offsets = utf8(array_of(part["text"]))
        words = np.empty(int(offsets[-1] - offsets[0]) // 2 + len(offsets) + 1, np.uint64)
        ends = np.zeros(len(offsets), np.int64)
        kernels.collect_words(data, offsets, HEAD, fold.table, fold.many, words, ends)
        found += [piece.copy() for piece in scores.stretches(words, ends, part["order"].to_numpy())]
        enough = sum(len(piece) for piece in found)
        if enough >= 5 * scores.DRAW and len(found) >= scores.REPEATED:
            break
    return found


def _everything(
    files: Sequence[Path],
    gathered: Gathered,
    embedding: Embedding,
    topics: Topics,
    clusters: PartWriter | None,
    progress: Progress | None,
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """The second reading: documents and characters of each topic, (K, 2), and near duplicates."""
    counts = np.zeros((len(topics.words), 2), np.int64)
    near = NearDuplicates(gathered)

    def see(batch: pa.RecordBatch, first: int) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]:
        texts = batch.column("text")
        near.see(texts, first)
        labels = topics.assign(embedding.of(texts, np.arange(first, first + batch.num_rows)))
        own = gathered.own[first : first + batch.num_rows]
        return batch.column("id"), labels, _count(labels[own], _characters(texts)[own], len(counts))

    alone = not isinstance(embedding, HashedWords)  # who knows what another can bear
    for ids, labels, sizes in walk(see, files, ["id", "text"], name="topics", progress=progress, alone=alone):
        counts += sizes
        if clusters is not None:
            clusters.write(pa.record_batch([ids, pa.array(labels, pa.int16())], schema=CLUSTERS))
    return counts, {"rate": round(near.rate(), 4), "alike": ALIKE}


def _characters(texts: pa.Array) -> NDArray[np.int64]:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.utf8_length(texts), 0), np.int64)


def _count(labels: NDArray[np.int64], characters: NDArray[np.int64], topics: int) -> NDArray[np.int64]:
    """Documents and characters of each topic, (K, 2)."""
    documents = np.bincount(labels, minlength=topics)
    sums = np.zeros(topics, np.int64)
    np.add.at(sums, labels, characters)
    return np.column_stack([documents, sums]).astype(np.int64)


def _topics(topics: Topics, counts: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The topics with their sizes and their places on the map."""
    where = places(topics.centres, counts[:, 0].tolist())
    return [
        {
            "number": number,
            "name": name,
            "words": list(topics.words[number]),
            "documents": int(counts[number, 0]),
            "characters": int(counts[number, 1]),
            "x": round(float(where[number, 0]), 4),
            "y": round(float(where[number, 1]), 4),
            "radius": round(float(where[number, 2]), 4),
        }
        for number, name in enumerate(topics.names)
    ]


def _topic_shares(topics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    groups = [{k: t[k] for k in ("name", "documents", "characters")} for t in topics]
    nothing = {"documents": 0, "characters": 0}
    effective = {n: round(scores.effective_number([t[n] for t in topics]), 3) for n in ("documents", "characters")}
    return {"groups": groups, "distinct": len(topics), "others": nothing, "unknown": nothing, "effective": effective}
