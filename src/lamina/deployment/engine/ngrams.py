"""What follows a few tokens most often in the documents: counted once, looked up while an answer is written.

The static n-gram cache of prompt lookup decoding (as llama.cpp's ``lookup-create`` makes it; "REST", He et al. 2024,
arXiv 2311.08252, looks for longer runs). A context of three or two tokens is hashed into 43 bits; together with its
follower it is one uint64, and the file is these numbers, sorted, behind a header. A hash that two contexts share
costs a wrong guess, never a wrong answer.

    magic 8 bytes | header (JSON, its length in 4 bytes before it) | zeros to a multiple of 8 | entries uint64
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from lamina.kit.durable import atomic_write
from lamina.kit.errors import CorruptError

FILE = "ngrams.bin"
#: Bytes of the entries, at most.
BYTES = 8 << 20
_MAGIC = b"LMNGRAM1"
_TOKEN_BITS = 21  # of a follower; the rest is the context's hash
_GRAMS = (3, 2)  # tokens of a context, the longest first
_BLOCK = 1 << 21  # tokens that are counted at once
_HELD = 1 << 23  # pairs that are held, at most
_MOST = 1 << 27  # tokens that are counted: of more, blocks at equal distances
_SEEN = 2  # times that a follower is seen before it is kept
_SURE = 0.3  # share of a context's followers from which on the most frequent one is kept
_MIX = 0x9E3779B97F4A7C15  # odd, of the golden ratio (Knuth): spreads what differs little
_ALL = (1 << 64) - 1
_TOKEN = (1 << _TOKEN_BITS) - 1

Pairs = NDArray[np.uint64]


def write_ngrams(
    folder: Path, tokens: NDArray[Any], ends: NDArray[np.int64], *, tokenizer: str, vocabulary: int, most: int = BYTES
) -> dict[str, Any]:
    """Count the documents in ``tokens`` (N,), which end at ``ends``, into ``FILE`` in ``folder``; what its header says.

    ``tokenizer``: the fingerprint of what made the tokens; ``most``: bytes of the entries. Memory is bounded whatever
    N is, and the same documents give the same bytes. A vocabulary beyond 2^21 gives no entries.
    """
    entries = _best(*_counted(tokens, ends), most // 8) if vocabulary <= 1 << _TOKEN_BITS else np.zeros(0, np.uint64)
    data = entries.astype("<u8").tobytes()
    facts = {"entries": len(entries), "tokenizer": tokenizer, "digest": blake3(data).hexdigest()}
    head = json.dumps(facts, sort_keys=True).encode()
    start = _MAGIC + struct.pack("<I", len(head)) + head
    atomic_write(folder / FILE, start + bytes(-len(start) % 8) + data)
    return facts


class Ngrams:
    """The followers in ``folder``, mapped into memory and read only. Raises ``CorruptError`` where it is damaged, and
    ``FileNotFoundError`` where there is none."""

    def __init__(self, folder: Path) -> None:
        place = folder / FILE
        with place.open("rb") as file:
            start = file.read(len(_MAGIC) + 4)
            size = struct.unpack("<I", start[-4:])[0] if len(start) == len(_MAGIC) + 4 else 0
            head = file.read(min(size, 4096))
        try:
            facts = json.loads(head) if start.startswith(_MAGIC) else {}
            count, self.tokenizer, digest = int(facts["entries"]), str(facts["tokenizer"]), facts["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptError("is no table of n-grams", where=str(place)) from error
        offset = len(start) + size
        offset += -offset % 8
        if place.stat().st_size != offset + 8 * count:
            raise CorruptError(f"does not hold the {count} entries that it was written with", where=str(place))
        mapped = np.memmap(place, "<u8", "r", offset, (count,)) if count else np.zeros(0, "<u8")
        self._entries = np.asarray(mapped)  # searched without a memmap's own ways
        if blake3(self._entries.tobytes()).hexdigest() != digest:
            raise CorruptError("its bytes are not those that were written", where=str(place))

    def __len__(self) -> int:
        return len(self._entries)

    def follower(self, tokens: Sequence[int]) -> int | None:
        """What most often follows the last of ``tokens``, by the longest context that is known; None: none is."""
        for gram in _GRAMS:
            if len(tokens) < gram:
                continue
            key = _hashed(tokens[-gram:])
            at = int(self._entries.searchsorted(np.uint64(key)))
            if at < len(self._entries):
                entry = int(self._entries[at])
                if entry >> _TOKEN_BITS == key >> _TOKEN_BITS:
                    return entry & _TOKEN
        return None


def _hashed(context: Sequence[Any]) -> Any:
    """A context (whole numbers, or an array (N,) of uint64 for each of its places) hashed into the upper bits; the
    lower ones are 0."""
    mixed: Any = len(context) * _MIX & _ALL  # so that no token makes one length another
    for tokens in context:
        mixed = (mixed ^ tokens) * _MIX & _ALL
        mixed ^= mixed >> 29
    return mixed * _MIX & _ALL - _TOKEN


def _counted(tokens: NDArray[Any], ends: NDArray[np.int64]) -> tuple[Pairs, NDArray[np.int64]]:
    """Pairs of context and follower, sorted, and how often each was seen.

    Where more than ``_HELD`` would be held, the rarest go (lossy counting, Manku & Motwani 2002).
    """
    pairs, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for part in _blocks(tokens, ends):
        found, often = np.unique(part, return_counts=True)
        pairs, counts = _added(pairs, counts, found, often)
        floor = 0
        while len(pairs) > _HELD:
            floor += 1
            kept = counts > floor
            pairs, counts = pairs[kept], counts[kept]
    return pairs, counts


def _added(
    pairs: Pairs, counts: NDArray[np.int64], found: Pairs, often: NDArray[np.int64]
) -> tuple[Pairs, NDArray[np.int64]]:
    both, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
    total = np.zeros(len(both), np.int64)
    total[place[: len(pairs)]] += counts  # each pair stands once in either
    total[place[len(pairs) :]] += often
    return both, total


def _blocks(tokens: NDArray[Any], ends: NDArray[np.int64]) -> Iterator[Pairs]:
    """The pairs of ``_BLOCK`` tokens after another; no context reaches from one document into the next."""
    step = -(-len(tokens) // _MOST) * _BLOCK
    for begin in range(0, len(tokens), max(step, _BLOCK)):
        ids = np.asarray(tokens[begin : begin + _BLOCK]).astype(np.uint64)
        places = np.arange(begin, begin + len(ids))
        starts = np.concatenate([[0], ends])[np.searchsorted(ends, places, side="right")]
        inside = places - np.maximum(starts, begin)  # tokens before each, of its document and in this block
        parts = []
        for gram in _GRAMS:
            at = np.flatnonzero(inside >= gram)
            parts.append(_hashed([ids[at - back] for back in range(gram, 0, -1)]) | ids[at])
        yield np.concatenate(parts)


def _best(pairs: Pairs, counts: NDArray[np.int64], most: int) -> Pairs:
    """Of each context the most frequent follower, where it was seen ``_SEEN`` times and is ``_SURE`` of all; of these
    the ``most`` that were seen oftenest, sorted."""
    if not len(pairs):
        return pairs
    contexts = pairs >> np.uint64(_TOKEN_BITS)
    first = np.flatnonzero(np.concatenate([[True], contexts[1:] != contexts[:-1]]))
    group = np.repeat(np.arange(len(first)), np.diff(np.concatenate([first, [len(pairs)]])))
    total = np.add.reduceat(counts, first)
    order = np.lexsort((pairs, -counts, group))  # of equal ones the lowest id
    top = order[first]
    kept = top[(counts[top] >= _SEEN) & (counts[top] >= _SURE * total)]
    kept = kept[np.lexsort((pairs[kept], -counts[kept]))][:most]
    return np.sort(pairs[kept])
