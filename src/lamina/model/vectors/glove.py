"""GloVe: vectors whose products are the logarithms of how often words stand near each other.

Pennington et al. 2014 (aclanthology.org/D14-1162). The pairs are dealt at random into buckets, each shuffled and then
sorted by the class of its words, rank mod T. T threads take from a bucket the blocks that have no class in common, in
turns, as Gemulla et al. 2011 do it for matrices: no two threads ever write to the same row, so that the same seed and
number of threads give the same bytes, always.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.kit.disk import storage
from lamina.kit.errors import ConfigError, InputError, StageError
from lamina.kit.progress import Progress, Task, open_progress
from lamina.kit.workers import cores
from lamina.model.vectors import glove_kernels as kernels
from lamina.model.vectors.cooccurrence import Cooccurrences
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.rows import padded
from lamina.model.vectors.vocabulary import Corpus, Vocabulary
from lamina.model.vectors.word2vec import Trained

RECORD = np.dtype([("row", np.int32), ("column", np.int32), ("log", np.float32), ("weight", np.float32)])

_BUCKET = 1 << 20  # records of a bucket, about
Records = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GloveParameters:
    """How to train; D is ``width``. Defaults are the paper's, but for ``x_max``: 100 is for billions of words."""

    width: int = 100
    window: int = 10  # words to each side
    x_max: float = 10.0  # pairs seen at least so often (by 1 / distance) have the weight 1, rarer ones less
    alpha: float = 0.75  # … (count / x_max)^alpha
    learning_rate: float = 0.05
    epochs: int = 25
    seed: int = 0
    threads: int | None = None  # None: as many as there are cores
    memory: int = 4 << 30  # bytes for counting, beside corpus and vectors

    def __post_init__(self) -> None:
        for name in ("width", "window", "x_max", "alpha", "learning_rate", "epochs", "threads", "memory"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"must be above zero, not {value}", where=f"glove.{name}")


def train_glove(
    vocabulary: Vocabulary,
    corpus: Corpus,
    *,
    parameters: GloveParameters | None = None,
    work: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Vectors (V, D) of the words of ``vocabulary``, word and context vectors added; losses are means over the pairs.

    ``work``: a folder for what is over ``memory``. Raises ``InputError`` where no word has a neighbour or memory is
    short, ``StageError`` where the loss stops being a number.
    """
    p = parameters or GloveParameters()
    shown = progress or open_progress("quiet")
    threads = min(p.threads or cores(), len(vocabulary))
    with ExitStack() as stack:
        buckets = stack.enter_context(_Buckets(p, threads, work))
        with Cooccurrences(
            corpus, len(vocabulary), window=p.window, threads=threads, memory=p.memory, work=work
        ) as counts:
            with shown.task("co-occurrences", total=len(corpus), unit="words") as task:
                counts.count(task)
            buckets.fill(counts)
        run = _Run(vocabulary, p, buckets)
        with shown.task("glove", total=2 * p.epochs * buckets.total, unit="pairs") as task:
            losses = tuple(run.epoch(number, task) for number in range(p.epochs))
    return Trained(run.vectors(), losses)


class _Buckets:
    """All pairs as records in random order, in memory or, where they are too many, in files."""

    def __init__(self, parameters: GloveParameters, threads: int, work: Path | None) -> None:
        self.parameters, self.threads, self.work = parameters, threads, work
        self.random = np.random.default_rng(parameters.seed)
        self.total = 0
        self.buckets: list[Records] = []
        self.bounds: list[NDArray[np.int64]] = []
        self._exit = ExitStack()

    def __enter__(self) -> _Buckets:
        return self

    def __exit__(self, *error: object) -> None:
        self.buckets = []
        self._exit.close()

    def fill(self, counts: Cooccurrences) -> None:
        """Deal the pairs out, shuffle each bucket, and sort it into blocks."""
        most = counts.most
        if not most:
            raise InputError("no word has a neighbour: every document has one word only")
        many = -(-most // _BUCKET)
        folder = self._folder(most * RECORD.itemsize)
        parts: list[list[Records]] = [[] for _ in range(many)]
        for pairs in counts.pairs():
            records = self._records(pairs)
            self.total += len(records)
            chosen = self.random.integers(0, many, len(records)) if many > 1 else np.zeros(len(records), np.int64)
            for bucket in range(many):
                part = records[chosen == bucket] if many > 1 else records
                if folder is None:
                    parts[bucket].append(part)
                    continue
                with storage("write", folder), (folder / f"{bucket}.records").open("ab") as file:
                    part.tofile(file)
        for bucket in range(many):
            if folder is None:
                records, parts[bucket] = np.concatenate(parts[bucket]), []
            else:
                records = np.fromfile(folder / f"{bucket}.records", RECORD)
            records = self._ordered(records)
            if folder is not None:
                path = folder / f"{bucket}.records"
                with storage("write", path):
                    records.tofile(path)
                records = np.memmap(path, RECORD, "r", shape=records.shape)
            self.buckets.append(records)

    def _folder(self, size: int) -> Path | None:
        """A folder where ``size`` bytes are too many for memory."""
        if size <= self.parameters.memory // 2:
            return None
        if self.work is None:
            raise InputError("the co-occurrences need more memory than allowed", hint="raise 'memory' or give 'work'")
        return Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix=".glove-", dir=self.work)))

    def _records(self, pairs: Records) -> Records:
        """Pairs, either way round, with the logarithm of their count and their weight."""
        records = np.empty(len(pairs), RECORD)
        turned = self.random.random(len(pairs)) < 0.5
        records["row"] = np.where(turned, pairs["column"], pairs["row"])
        records["column"] = np.where(turned, pairs["row"], pairs["column"])
        records["log"] = np.log(pairs["count"])
        shares = np.minimum(pairs["count"] / np.float32(self.parameters.x_max), 1)
        records["weight"] = shares ** np.float32(self.parameters.alpha)
        return records

    def _ordered(self, records: Records) -> Records:
        """Shuffled, then sorted by the classes of row and column; where the blocks end goes into ``bounds``."""
        threads = self.threads
        order = self.random.permutation(len(records))
        if threads > 1:
            block = (records["row"] % threads * threads + records["column"] % threads)[order]
            order = order[np.argsort(block.astype(np.uint16), kind="stable")]
            sizes = np.bincount(block, minlength=threads * threads)
        else:
            sizes = np.array([len(records)])
        self.bounds.append(np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]))
        return records[order]

    def turns(self) -> Iterator[tuple[Records, NDArray[np.int64]]]:
        """The buckets in random order, with the bounds of their blocks (T T + 1,)."""
        for bucket in self.random.permutation(len(self.buckets)):
            yield np.asarray(self.buckets[bucket]), self.bounds[bucket]


class _Run:
    """What is learned, and the threads."""

    def __init__(self, vocabulary: Vocabulary, parameters: GloveParameters, buckets: _Buckets) -> None:
        self.vocabulary, self.parameters, self.buckets = vocabulary, parameters, buckets
        self.tallies = np.zeros((buckets.threads, 8))  # a cache line each
        width = parameters.width
        random = np.random.default_rng([parameters.seed, 1])
        self.words, self.contexts = (self._start(random) for _ in range(2))
        self.words[:, width + 1] = self.contexts[:, width] = 1

    def _start(self, random: np.random.Generator) -> NDArray[np.float32]:
        """Vectors (V, 2 P) as the authors' program starts them, sums of squares 1."""
        width = self.parameters.width
        half = padded(1, width + 2).shape[1]
        rows = padded(len(self.vocabulary), 2 * half)
        rows[:, : width + 2] = (random.random((len(rows), width + 2), np.float32) - 0.5) / width
        rows[:, half:] = 1
        return rows

    def epoch(self, number: int, task: Task) -> float:
        """Learn from all pairs, both ways, once; the mean loss."""
        threads = self.buckets.threads
        self.tallies[:] = 0
        with ThreadPoolExecutor(threads) as pool:
            for records, bounds in self.buckets.turns():
                for turn in range(threads):
                    list(pool.map(lambda t: self._learn(records, bounds, t, (t + turn) % threads), range(threads)))  # noqa: B023
                task.advance(2 * len(records), epoch=number + 1)
        loss, pairs = self.tallies[:, 0].sum(), self.tallies[:, 1].sum()
        mean = float(loss / pairs)
        if not (np.isfinite(mean) and np.isfinite(self.words).all() and np.isfinite(self.contexts).all()):
            where = f"glove, epoch {number + 1}"
            raise StageError("the vectors are no longer finite numbers", where=where, hint="lower learning_rate")
        task.advance(0, loss=mean)
        return mean

    def _learn(self, records: Records, bounds: NDArray[np.int64], rows: int, columns: int) -> None:
        """Words of one class as words, of another as contexts: the pairs as they are, and those that are so swapped."""
        threads, p = self.buckets.threads, self.parameters
        rate, tally = np.float32(p.learning_rate), self.tallies[rows]
        for block, swapped in ((rows * threads + columns, False), (columns * threads + rows, True)):
            first, last = bounds[block], bounds[block + 1]
            kernels.learn_records(records, first, last, swapped, rate, p.width, self.words, self.contexts, tally)

    def vectors(self) -> KeyedVectors:
        """Word and context vectors added (§4.2 of the paper)."""
        width = self.parameters.width
        table = self.words[:, :width] + self.contexts[:, :width]
        return KeyedVectors(self.vocabulary.words, np.ascontiguousarray(table), counts=self.vocabulary.counts)
