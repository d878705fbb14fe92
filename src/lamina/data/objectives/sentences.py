"""Next-sentence prediction: does the second text follow the first? (Devlin et al. 2019, BERT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lamina.contracts.tokens import Tokenizer
from lamina.data.augment.sentences import sentences
from lamina.data.forms import Draw, Ids, Part, Row
from lamina.data.packing import Pieces, spans
from lamina.data.parts import read_parts
from lamina.data.shards import Shards, ShardWriter
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import Progress, open_progress

FOLLOWS, FOREIGN = 0, 1  # labels, as transformers counts them


class NextSentence:
    """``[CLS] A [SEP] B [SEP]``, a pair a row: A are sentences, B in half of the cases those that follow, else some of
    another document. Kinds are 0 and 1; targets are the tokens themselves, for ``MaskedBatches``.

    Shards are of ``write_sentences``: a sentence is a document of theirs, neighbours of one id are one text.
    """

    holds = ("kinds", "labels")
    trimmed = True

    def __init__(self, *, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._texts: dict[str, Ids] = {}

    @property
    def identity(self) -> Mapping[str, Any]:
        """What it was made with."""
        return {"use": "NextSentence", "frame": [self._first, self._last]}

    def source_length(self, length: int) -> int:
        """There are no sources."""
        return 0

    def cut(self, part: Part, length: int) -> Pieces:
        """Runs of two sentences or more that fill a row; ``start`` is the number of the first, ``size`` how many.

        Raises ``InputError`` where there are no two texts, or none with two sentences.
        """
        if length < 5:
            raise ConfigError(f"{length} tokens hold no pair of texts", where="length", hint="5 or more")
        texts = self._edges(part.shards)
        if len(texts) < 3:
            raise InputError(
                "there is one text alone, and sentences of others are needed",
                where=str(part.shards.path),
                hint='objective = "masked-lm" needs no pairs',
            )
        begin, end = spans(part.shards)
        sizes, starts, counts = (end - begin).tolist(), [], []
        for first, stop in pairwise(texts.tolist()):  # a run's end depends on the one before
            at = first
            while stop - at >= 2:
                after, tokens = at + 2, sizes[at] + sizes[at + 1]
                while after < stop and tokens < length - 3:
                    tokens += sizes[after]
                    after += 1
                starts.append(at)
                counts.append(after - at)
                at = after
        if not starts:
            raise InputError("no text has two sentences", where=str(part.shards.path))
        room = np.full(len(starts), length, np.int64)
        return Pieces(start=np.asarray(starts), size=np.asarray(counts), learned=room // room, room=room)

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """``start`` is the number of the first sentence."""
        random, shards = draw(), part.shards
        inside = row.length - 3
        split = start + int(random.integers(1, size))
        first, second = self._read(shards, start, split), self._read(shards, split, start + size)
        label = FOLLOWS
        if random.random() < 0.5:
            label = FOREIGN
            second = self._foreign(shards, start, max(inside - len(first), inside // 2), random)
        first, second = _fitting(first, second, inside)
        last = [self._last]
        ids = np.concatenate([[self._first], first, last, second, last]).astype(np.int64)
        row.put(segment, ids, ids, np.repeat([0, 1], [len(first) + 2, len(second) + 1]))
        row.label(label)

    def _foreign(self, shards: Shards, own: int, wanted: int, random: np.random.Generator) -> Ids:
        """Sentences of another text than that of the sentence ``own``, ``wanted`` tokens of them or fewer."""
        texts = self._edges(shards)
        mine = int(np.searchsorted(texts, own, side="right")) - 1
        other = int(random.integers(0, len(texts) - 2))
        other += other >= mine
        begin, stop = int(texts[other]), int(texts[other + 1])
        at = int(random.integers(begin, stop))
        return self._read(shards, at, min(stop, at + wanted))[:wanted]  # a sentence has a token or more

    def _read(self, shards: Shards, begin: int, stop: int) -> Ids:
        """The tokens of sentences ``begin`` to ``stop``."""
        edge = int(shards.ends[begin - 1]) if begin else 0
        return np.asarray(shards.stream[edge : int(shards.ends[stop - 1])], np.int64)

    def _edges(self, shards: Shards) -> Ids:
        """The number of the first sentence of each text, and of all sentences."""
        key = str(shards.path)
        if key not in self._texts:
            ids = pq.read_table(shards.path / "documents.parquet", columns=["id"]).column("id").to_numpy()
            begins = np.flatnonzero(np.concatenate([np.ones(min(1, len(ids)), np.bool_), ids[1:] != ids[:-1]]))
            self._texts[key] = np.concatenate([begins, [len(ids)]])
        return self._texts[key]


def _fitting(first: Ids, second: Ids, inside: int) -> tuple[Ids, Ids]:
    """As much as fits of both, the longer one shortened first: away from where they meet."""
    first = first[-max(inside // 2, inside - len(second)) :]
    return first, second[: inside - len(first)]


def write_sentences(corpus: Path, folder: Path, tokenizer: Tokenizer, *, progress: Progress | None = None) -> Shards:
    """The sentences of a corpus' training split as shards: a document of theirs is a sentence, its id the text's."""
    files = sorted((corpus / "data").glob("train-*.parquet"))
    shown = progress or open_progress("quiet")
    with ShardWriter(folder, tokenizer, split="train", kind="sentences") as writer:
        with shown.task("sentences", total=None, unit="documents") as task:
            for id, source, texts in _texts(files):
                for ids in tokenizer.encode_batch(texts):
                    if ids:
                        writer.add(ids, [True] * len(ids), id=id, source=source)
                task.advance()
        return writer.close()


def _texts(files: list[Path]) -> Iterator[tuple[str, str, list[str]]]:
    """(id, source, sentences), a loop over documents: a sentence's end depends on what stands before it."""
    for batch in read_parts(files, ["id", "source", "text"]):
        for row in batch.to_pylist():
            yield row["id"], row["source"], [found.text for found in sentences(row["text"], least_words=1)]
