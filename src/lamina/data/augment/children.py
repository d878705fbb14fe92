"""From documents to children: scan once, draw the edits of each copy, put the texts together, say what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.augment.characters import Tables, Texts, decode, encode, tables
from lamina.data.augment.protect import mask_of, term_table
from lamina.data.augment.stop_words import stop_words
from lamina.data.augment.tags import primary
from lamina.kit.identity import blake3_hex

#: What an ``Augmenter`` returns.
CHILDREN = pa.schema(
    [
        pa.field("parent", pa.int64(), nullable=False),  # row number in the batch
        pa.field("copy", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),  # JSON
    ]
)
#: What operations are checked on before any work: with no rows they look at their numbers, with a row at files as well.
NO_ROWS = pa.RecordBatch.from_pydict({name: pa.array([], pa.string()) for name in ("id", "text", "language")})
ONE_EMPTY = pa.RecordBatch.from_pydict({name: pa.array([""], pa.string()) for name in ("id", "text", "language")})
_CHARACTERS = 1 << 18  # handled at once, so that memory stays bounded
_LISTED = 1000  # edits told of one child; of the rest the number
_CAPITAL_NOUNS = ("de", "lb")
_REFUSED = b"lamina.refused"  # in the metadata of an augmenter's table
UNTOUCHED = "nothing to change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """Some documents of one language as arrays: T words, see ``kernels.scan``."""

    texts: Texts
    tokens: NDArray[np.int64]  # (T, 5)
    hashes: NDArray[np.uint64]  # (T,)
    token_ends: NDArray[np.int64]  # (N + 1,)
    seeds: NDArray[np.uint64]  # (N,)
    mask: NDArray[np.uint8]  # (C,)
    language: str | None
    tables: Tables


#: Draws the edits of ``copies`` children a document: an array (E, 9) as in ``kernels.assemble``, in any order.
Draw = Callable[[Scanned, int], NDArray[np.int64]]


def make_children(
    batch: pa.RecordBatch,
    *,
    operation: str,
    copies: int,
    seed: int,
    terms: Sequence[str],
    draw: Draw,
    words: NDArray[np.uint32],
    told: dict[str, Any] | None = None,
) -> pa.Table:
    """``copies`` children of each document by the edits that ``draw`` makes; children without an edit are left out.

    ``words`` is the pool of characters from which edits may copy. ``told`` goes into each child's detail.
    """
    from lamina.data.augment.kernels import assemble as kernel

    columns: dict[str, list[Any]] = {name: [] for name in CHILDREN.names}
    wanted = 0
    if copies > 0:
        for rows, scanned in scan_documents(batch, operation=operation, seed=seed, terms=terms):
            wanted += copies * len(rows)
            edits = draw(scanned, copies)
            edits = edits[np.lexsort((edits[:, kernel.BEGIN], edits[:, kernel.CHILD]))]
            _assemble(rows, scanned, copies, edits, words, told or {}, columns)
    made = pa.table(columns, schema=CHILDREN).sort_by([("parent", "ascending"), ("copy", "ascending")])
    return with_refused(made, {UNTOUCHED: wanted - made.num_rows})


def with_refused(table: pa.Table, children: Mapping[str, int], pieces: Mapping[str, int] | None = None) -> pa.Table:
    """``table`` with how many children were not made, by reason, and how many pieces of documents (sentences) stayed as
    they were; rows that are not there can tell of nothing."""
    told = {"children": {k: n for k, n in children.items() if n}, "pieces": dict(pieces or {})}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _REFUSED: orjson.dumps(told)})


def refused_in(table: pa.Table) -> tuple[dict[str, int], dict[str, int]]:
    """What ``with_refused`` put there: counts of children and of pieces by reason."""
    told = orjson.loads((table.schema.metadata or {}).get(_REFUSED, b'{"children":{},"pieces":{}}'))
    return told["children"], told["pieces"]


def _assemble(
    rows: Sequence[int],
    scanned: Scanned,
    copies: int,
    edits: NDArray[np.int64],
    words: NDArray[np.uint32],
    told: dict[str, Any],
    columns: dict[str, list[Any]],
) -> None:
    from lamina.data.augment.kernels import assemble as kernel

    texts, table = scanned.texts, scanned.tables
    out_ends = np.empty(len(rows) * copies + 1, np.int64)
    kernel.sizes(texts.ends, copies, edits, out_ends)
    out = np.empty(out_ends[-1], np.uint32)
    widths = edits[:, kernel.TO] - edits[:, kernel.FROM]
    parts = np.empty(int(widths.sum()) + 2 * len(edits), np.uint32)
    part_ends = np.empty(len(edits) + 1, np.int64)
    kernel.assemble(
        texts.codes, texts.ends, copies, edits, words, table.lower, table.upper, out, out_ends, parts, part_ends
    )
    children = decode(out, out_ends)
    new = decode(parts[: part_ends[-1]], part_ends)
    offsets = texts.ends[edits[:, kernel.CHILD] // copies]
    begins = (edits[:, kernel.BEGIN] - offsets).tolist()
    lasts = (edits[:, kernel.END] - offsets).tolist()
    bounds = np.searchsorted(edits[:, kernel.CHILD], np.arange(len(children) + 1)).tolist()
    every = list(zip(begins, lasts, new, strict=True))
    made = [n for n, text in enumerate(children) if bounds[n] < bounds[n + 1] and text and not text.isspace()]
    for child in made:
        a, b = bounds[child], bounds[child + 1]
        detail = {**told, "edits": every[a : min(b, a + _LISTED)]}
        if b > a + _LISTED:
            detail["more"] = b - a - _LISTED
        columns["detail"].append(orjson.dumps(detail).decode())
    columns["parent"] += [rows[child // copies] for child in made]
    columns["copy"] += [child % copies for child in made]
    columns["text"] += [children[child] for child in made]


def scan_documents(
    batch: pa.RecordBatch, *, operation: str, seed: int, terms: Sequence[str]
) -> Iterator[tuple[list[int], Scanned]]:
    """The documents with text, in groups of one language and bounded size, as (row numbers, arrays)."""
    names = batch.schema.names
    texts = batch.column("text").to_pylist()
    ids = batch.column("id").to_pylist()
    languages = batch.column("language").to_pylist() if "language" in names else [None] * len(texts)
    order = sorted((i for i, text in enumerate(texts) if text), key=lambda i: languages[i] or "")
    for language, rows in groupby(order, key=lambda i: languages[i] or ""):
        group: list[int] = []
        size = 0
        for row in rows:
            group.append(row)
            size += len(texts[row])
            if size >= _CHARACTERS:
                yield group, _scan(group, texts, ids, language or None, operation, seed, tuple(terms))
                group, size = [], 0
        if group:
            yield group, _scan(group, texts, ids, language or None, operation, seed, tuple(terms))


def seeds_of(documents: Sequence[str], operation: str, seed: int) -> NDArray[np.uint64]:
    """For each document the 64 bits from which all draws for it by an operation follow, (N,)."""
    from lamina.data.augment.kernels import scan as kernel

    own = np.uint64(int(blake3_hex("augment", str(seed), operation)[:16], 16))
    seeds: NDArray[np.uint64] = kernel.mixed(hash_strings(documents), own)
    return seeds


def _scan(
    rows: Sequence[int],
    strings: Sequence[str],
    ids: Sequence[str],
    language: str | None,
    operation: str,
    seed: int,
    terms: tuple[str, ...],
) -> Scanned:
    chosen = tuple(strings[row] for row in rows)
    long = sum(map(len, chosen)) > 2 * _CHARACTERS
    scanned = (_scan_texts.__wrapped__ if long else _scan_texts)(chosen, primary(language), terms)
    return replace(scanned, seeds=seeds_of([ids[row] for row in rows], operation, seed))


@lru_cache(maxsize=16)  # the operations of a unit read the same texts one after another; some 3 MB each
def _scan_texts(chosen: tuple[str, ...], tag: str, terms: tuple[str, ...]) -> Scanned:
    """What of a scan is the same for all operations; without seeds."""
    from lamina.data.augment.kernels import scan as kernel

    texts, table = encode(chosen), tables()
    mask = mask_of(chosen, texts)
    tokens = np.empty((len(texts.codes), 5), np.int64)
    hashes = np.empty(len(texts.codes), np.uint64)
    token_ends = np.empty(len(chosen) + 1, np.int64)
    count = kernel.scan(
        texts.codes,
        texts.ends,
        mask,
        table.classes,
        table.lower,
        table.case,
        _stop_table(tag),
        tag in _CAPITAL_NOUNS,
        tokens,
        hashes,
        token_ends,
    )
    tokens, hashes = tokens[:count].copy(), hashes[:count].copy()
    if terms:
        kernel.protect_terms(tokens, hashes, token_ends, *term_table(terms))
    return Scanned(
        texts=texts,
        tokens=tokens,
        hashes=hashes,
        token_ends=token_ends,
        seeds=np.empty(0, np.uint64),
        mask=mask,
        language=tag or None,
        tables=table,
    )


@lru_cache(maxsize=64)
def _stop_table(language: str) -> NDArray[np.uint64]:
    return hash_table(hash_strings(sorted(stop_words(language))))[0]


def hash_strings(words: Sequence[str]) -> NDArray[np.uint64]:
    """The hash of each word, (N,), by which lexicons and stop words are looked up."""
    from lamina.data.augment.kernels import scan as kernel

    texts = encode(words)
    hashes: NDArray[np.uint64] = kernel.hash_words(texts.codes, texts.ends, tables().lower)
    return hashes


def hash_table(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """An open-addressing table: (keys, which of ``hashes`` stands there); 0 is a free place."""
    size = 1 << max(4, int(2 * len(hashes)).bit_length())
    keys = np.zeros(size, np.uint64)
    places = np.full(size, -1, np.int64)
    waiting = np.arange(len(hashes))
    at = (hashes & np.uint64(size - 1)).astype(np.int64)
    while len(waiting):  # all that wait try their place at once; who does not get it moves on by one
        free = keys[at] == 0
        _, first = np.unique(at[free], return_index=True)
        winners = np.flatnonzero(free)[first]
        keys[at[winners]] = hashes[waiting[winners]]
        places[at[winners]] = waiting[winners]
        lost = np.ones(len(waiting), bool)
        lost[winners] = False
        lost &= keys[at] != hashes[waiting]  # the same word twice: the first stands
        waiting, at = waiting[lost], (at[lost] + 1) % size
    return keys, places
