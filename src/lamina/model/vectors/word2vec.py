"""Word2Vec: skip-gram and CBOW, with negative sampling or hierarchical softmax, on words or on bags of n-grams.

Mikolov et al. 2013 (arXiv 1301.3781, 1310.4546); the kernels say how a window is computed. Threads share the weights
and write to them without locks (Hogwild: Niu et al. 2011, arXiv 1106.5730). With ``reproducible`` each has a copy of
its own instead, and after short rounds what they learned is added up (see ``rounds``). Then the same seed and number of
threads give the same bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import ConfigError, InputError, StageError
from lamina.kit.progress import Progress, Task, open_progress
from lamina.kit.workers import cores
from lamina.model.vectors import word2vec_kernels as kernels
from lamina.model.vectors.keyed_vectors import KeyedVectors, Subwords
from lamina.model.vectors.ngrams import Grams, gram_rows
from lamina.model.vectors.rounds import PIECE, round_of, tiers
from lamina.model.vectors.rows import aligned, padded
from lamina.model.vectors.sampling import alias_table, huffman_tree, keep_shares, thresholds
from lamina.model.vectors.vocabulary import Corpus, Vocabulary
from lamina.model.vectors.window_kernels import merge_rows

_STEP = 20_000  # tokens that a thread learns from before its rate falls


@dataclass(frozen=True, slots=True, kw_only=True)
class Word2VecParameters:
    """How to train; the defaults are those of the field. D is ``width``."""

    width: int = 100
    window: int = 5  # words to each side, of which a random number from 1 on is used
    algorithm: Literal["skip-gram", "cbow"] = "skip-gram"
    output: Literal["negative", "hierarchical"] = "negative"
    negatives: int = 5  # words drawn for each window
    power: float = 0.75  # negatives are drawn by count to this power
    sample: float | None = 1e-3  # words with a larger share of the corpus are left out at random; None: no word is
    subwords: Grams | None = None  # words as bags of n-grams
    learning_rate: float = 0.025  # falls linearly to final_rate
    final_rate: float = 1e-4
    epochs: int = 5
    seed: int = 0
    threads: int | None = None  # None: as many as there are cores
    reproducible: bool = False  # the same bytes for the same seed and threads; one thread always gives them

    def __post_init__(self) -> None:
        for name in ("width", "window", "negatives", "epochs", "sample", "learning_rate", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"must be above zero, not {value}", where=f"word2vec.{name}")
        if not 0 <= self.final_rate <= self.learning_rate:
            raise ConfigError("must lie between 0 and learning_rate", where="word2vec.final_rate")
        for name, choices in (("algorithm", ("skip-gram", "cbow")), ("output", ("negative", "hierarchical"))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"must be one of {', '.join(choices)}", where=f"word2vec.{name}")


@dataclass(frozen=True, slots=True)
class Trained:
    """Vectors, and the mean loss of each epoch: nats a pair of words, its negatives included, in float64."""

    vectors: KeyedVectors
    losses: tuple[float, ...]


def train_word2vec(
    vocabulary: Vocabulary,
    corpus: Corpus,
    *,
    parameters: Word2VecParameters | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Vectors (V, D) of the words of ``vocabulary``, learned from ``corpus``.

    Raises ``InputError`` where no word has a neighbour, ``StageError`` where the loss stops being a number.
    """
    parameters = parameters or Word2VecParameters()
    if np.diff(corpus.ends, prepend=0).max() < 2:
        raise InputError("no word has a neighbour: every document has one word only")
    run = _Run(vocabulary, corpus, parameters)
    total = parameters.epochs * len(corpus)
    with (progress or open_progress("quiet")).task("word2vec", total=total, unit="words") as task:
        losses = tuple(run.epoch(number, task) for number in range(parameters.epochs))
    return Trained(run.vectors(), losses)


class _Run:
    """The weights, the threads and their shares of the corpus."""

    def __init__(self, vocabulary: Vocabulary, corpus: Corpus, parameters: Word2VecParameters) -> None:
        self.vocabulary, self.corpus, self.parameters = vocabulary, corpus, parameters
        apart = parameters.reproducible and (parameters.threads or cores()) > 1
        self.pieces = corpus.pieces(PIECE) if apart else corpus.pieces()
        self.task = self._task()
        threads = min(parameters.threads or cores(), len(self.pieces) - 1)
        self.merging = apart and threads > 1
        rows = len(vocabulary) + (parameters.subwords.buckets if parameters.subwords else 0)
        random = np.random.default_rng(parameters.seed)
        self.inputs = padded(rows, parameters.width)
        first = self.inputs[:, : parameters.width]
        first[:] = (random.random(first.shape, np.float32) - 0.5) / parameters.width
        self.outputs = padded(len(vocabulary), parameters.width)
        self.weights = [kernels.Weights(self.inputs, self.outputs)] * threads
        if self.merging:
            copies = [aligned((threads, *w.shape)) for w in (self.inputs, self.outputs)]
            copies[0][:] = self.inputs
            self.copies = copies
            self.weights = [kernels.Weights(*(copy[t] for copy in copies)) for t in range(threads)]
            share = threads * round_of(threads) / len(corpus)
            kept = vocabulary.counts * keep_shares(vocabulary.counts, parameters.sample) * share
            self.tiers = tiers(kept, self.task, rows, len(vocabulary))
        self.desks = [self._desk(seed) for seed in random.integers(1, 1 << 63, threads)]
        self.shares = self._shares(threads)

    def _task(self) -> kernels.Task:
        p, counts = self.parameters, self.vocabulary.counts
        paths, codes, path_ends = np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int64)
        grams, gram_ends = np.zeros(0, np.int32), np.zeros(0, np.int64)
        if p.output == "hierarchical":
            tree = huffman_tree(counts)
            paths, codes, path_ends = tree.nodes, tree.codes, tree.ends
        if p.subwords:
            grams, gram_ends = gram_rows(self.vocabulary.words, p.subwords)
        keep, draw = thresholds(keep_shares(counts, p.sample)), alias_table(counts, p.power)
        cbow = p.algorithm == "cbow"
        return kernels.Task(p.window, p.negatives, cbow, keep, draw, paths, codes, path_ends, grams, gram_ends)

    def _desk(self, seed: int) -> kernels.Desk:
        p = self.parameters
        ends = self.task.path_ends
        outputs = int(np.diff(ends).max()) if len(ends) else p.negatives + 1
        inputs, longest = 2 * p.window + 1, int(np.diff(self.pieces).max())
        x, o = padded(inputs, p.width), padded(outputs + 1, p.width)
        cells = np.zeros((2, (inputs + 1) * outputs), np.float32)
        state = np.array([seed], np.uint64)
        words, rows = np.zeros(longest, np.int32), np.zeros((2, outputs), np.int64)
        return kernels.Desk(state, words, x, padded(1, p.width)[0], o, rows, cells[0], cells[1], np.zeros(2))

    def _shares(self, threads: int) -> list[NDArray[np.int64]]:
        """For each thread the bounds of the pieces of its steps: as many steps for all, of about as many tokens."""
        step = round_of(threads) if self.merging else _STEP
        share = len(self.corpus) / threads
        steps = max(1, round(share / step), min(10, len(self.pieces) // threads))
        bounds = np.searchsorted(self.pieces, np.linspace(0, len(self.corpus), threads * steps + 1))
        bounds[-1] = len(self.pieces) - 1
        return [bounds[t * steps : (t + 1) * steps + 1] for t in range(threads)]

    def epoch(self, number: int, task: Task) -> float:
        """Learn from the corpus once; the mean loss."""
        stop = threading.Event()
        steps, threads = len(self.shares[0]) - 1, len(self.desks)

        def learn(thread: int, begin: int, end: int) -> None:
            for step in range(begin, end):
                if stop.is_set():
                    return
                first, last = self.shares[thread][step : step + 2]
                kernels.learn_pieces(
                    self.corpus.tokens,
                    self.pieces,
                    first,
                    last,
                    self._rate((number + step / steps) / self.parameters.epochs),
                    self.weights[thread],
                    self.task,
                    self.desks[thread],
                )
                task.advance(int(self.pieces[last] - self.pieces[first]), epoch=number + 1)

        with ThreadPoolExecutor(threads) as pool:
            try:
                for begin, end in self._rounds(steps):
                    list(pool.map(lambda t: learn(t, begin, end), range(threads)))  # noqa: B023
                    if self.merging:
                        list(pool.map(lambda t: self._merge(t, end, last=end == steps), range(threads)))  # noqa: B023
            finally:
                stop.set()
        return self._loss(number, task)

    def _rounds(self, steps: int) -> Iterator[tuple[int, int]]:
        return ((i, i + 1) for i in range(steps)) if self.merging else iter([(0, steps)])

    def _rate(self, done: float) -> np.float32:
        p = self.parameters
        return np.float32(p.learning_rate - (p.learning_rate - p.final_rate) * done)

    def _merge(self, thread: int, number: int, *, last: bool) -> None:
        """Make one of the copies again after round ``number``: this thread's part of the rows that are due."""
        for base, copy, tier in zip((self.inputs, self.outputs), self.copies, self.tiers, strict=True):
            due = len(base) if last else tier.due(number)
            bounds = np.linspace(0, due, len(self.desks) + 1).astype(np.int64)
            merge_rows(base, copy, tier.rows, bounds[thread], bounds[thread + 1])

    def _loss(self, number: int, task: Task) -> float:
        loss, pairs = np.sum([desk.tally for desk in self.desks], axis=0)
        for desk in self.desks:
            desk.tally[:] = 0
        mean = float(loss / pairs) if pairs else float("nan")
        if not (np.isfinite(mean) and np.isfinite(self.inputs).all() and np.isfinite(self.outputs).all()):
            where = f"word2vec, epoch {number + 1}"
            if not pairs:
                raise InputError("subsampling left no word a neighbour", where=where, hint="raise 'sample'")
            raise StageError("the vectors are no longer finite numbers", where=where, hint="lower learning_rate")
        task.advance(0, loss_nats=mean)
        return mean

    def vectors(self) -> KeyedVectors:
        """The vectors as they are now."""
        width, size, grams = self.parameters.width, len(self.vocabulary), self.parameters.subwords
        table = np.ascontiguousarray(self.inputs[:, :width])
        if grams is None:
            return KeyedVectors(self.vocabulary.words, table, counts=self.vocabulary.counts)
        ends: Any = self.task.gram_ends
        mean = np.add.reduceat(table[self.task.grams], ends[:-1], axis=0) / np.diff(ends)[:, None].astype(np.float32)
        subwords = Subwords(grams, table[size:])
        return KeyedVectors(self.vocabulary.words, mean, counts=self.vocabulary.counts, subwords=subwords)
