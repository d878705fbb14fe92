"""What a corpus is about: spherical k-means (Dhillon and Modha 2001) on the main directions of its vectors (latent
semantic analysis, Deerwester et al. 1990), each cluster named by its most telling words (Monroe et al. 2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lamina.data.variety.embedding import units

if TYPE_CHECKING:
    import polars as pl

MOST = 24  # topics
_DIRECTIONS = 64
_SPARE, _TURNS = 32, 12  # of subspace iteration
_ROUNDS = 40
_STARTS = 3
_NAMED_BY = 3
_WORDS = 8  # that are kept of each topic
_PRIOR = 500.0  # words that the whole corpus' frequencies count as
_TEXT = 4000  # characters of a document that its topic's words are counted in


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """K topics. A vector's topic is where ``vector @ scorer`` is highest.

    ``scorer`` (D, K); ``centres`` (K, M) of unit length; ``words`` of each, the most telling first; ``labels`` (N,) of
    the sample that they were found in.
    """

    scorer: NDArray[np.float32]
    centres: NDArray[np.float32]
    words: tuple[tuple[str, ...], ...]
    labels: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """Three words each; no two the same."""
        names: list[str] = []
        for number, words in enumerate(self.words):
            name = ", ".join(words[:_NAMED_BY]) or f"topic {number}"
            names.append(f"{name} ({number})" if name in names else name)
        return tuple(names)

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """The topic of each vector (N, D): (N,)."""
        return np.asarray((vectors @ self.scorer).argmax(axis=1), np.int64)


def number_of_topics(documents: int) -> int:
    """How many topics so many documents can tell apart: 1 for 20, 3 for 100, 9 for 1,000, never over 24."""
    return max(1, min(MOST, round(math.sqrt(documents / 12))))


def find_topics(vectors: NDArray[np.float32], texts: pl.Series, *, seed: int, topics: int | None = None) -> Topics:
    """Cluster the sample's ``vectors`` (N, D) of unit length; the largest topic first."""
    wanted = min(topics or number_of_topics(len(vectors)), max(1, len(vectors)))
    axes = _main_directions(vectors)
    reduced = units(vectors @ axes)
    centres = _k_means(reduced, wanted, seed)
    labels = np.asarray((reduced @ centres.T).argmax(axis=1), np.int64)
    sizes = np.bincount(labels, minlength=len(centres))
    order = np.lexsort((np.arange(len(sizes)), -sizes))
    order = order[sizes[order] > 0] if len(vectors) else order
    centres = centres[order]
    labels = np.asarray((reduced @ centres.T).argmax(axis=1), np.int64)
    scorer = np.ascontiguousarray(axes @ centres.T)
    return Topics(scorer=scorer, centres=centres, words=telling_words(texts, labels, len(centres)), labels=labels)


def telling_words(texts: pl.Series, labels: NDArray[np.int64], topics: int) -> tuple[tuple[str, ...], ...]:
    """Of each topic the words that its documents have oftener than others: log-odds with the whole corpus as the prior,
    divided by their standard deviation. Function words and words of two letters or less say nothing."""
    import polars as pl

    from lamina.data.clean.words import LETTERS
    from lamina.data.variety.dull_words import dull_words

    text = pl.col("text").fill_null("").str.head(_TEXT).str.to_lowercase().str.extract_all(LETTERS).list.unique()
    frame = pl.DataFrame({"text": texts, "topic": labels}).select("topic", word=text).explode("word").drop_nulls()
    dull = pl.col("word").is_in(sorted(dull_words()))
    ideograph = pl.col("word").str.contains(r"^\p{Han}|^\p{Thai}")
    plain = pl.col("word").str.contains(r"^[^\d]+$") & ((pl.col("word").str.len_chars() > 2) | ideograph)
    counts = frame.filter(~dull & plain).group_by("topic", "word").agg(y=pl.len().cast(pl.Float64))
    counts = counts.with_columns(n=pl.sum("y").over("topic"), all=pl.sum("y").over("word"))
    total = float(counts["y"].sum()) or 1.0
    prior = pl.col("all") / total * _PRIOR
    rest = pl.col("all") - pl.col("y") + prior
    mine = pl.col("y") + prior
    odds = (mine / (pl.col("n") + _PRIOR - mine)).log() - (rest / (total - pl.col("n") + _PRIOR - rest)).log()
    scored = counts.with_columns(z=odds / (1 / mine + 1 / rest).sqrt()).filter((pl.col("y") > 1) | (pl.col("n") < 50))
    best = scored.sort(["z", "word"], descending=[True, False]).group_by("topic", maintain_order=True).head(_WORDS)
    found: list[list[str]] = [[] for _ in range(topics)]
    for topic, word in best.select("topic", "word").iter_rows():
        found[topic].append(word)
    return tuple(tuple(words) for words in found)


def places(centres: NDArray[np.float32], sizes: Sequence[float]) -> NDArray[np.float64]:
    """Where the topics stand on a map, (K, 3): x, y, radius, with the area by ``sizes``.

    Classical scaling (Torgerson 1952) of the cosine distances; then discs that overlap push each other apart.
    """
    count = len(centres)
    radii = 0.62 * np.sqrt(np.asarray(sizes, np.float64) / max(float(np.sum(sizes)), 1e-9))
    rows = np.asarray(centres, np.float64)
    distances = np.maximum(1 - rows @ rows.T, 0)
    middle = np.eye(count) - 1 / count
    values, axes = np.linalg.eigh(-0.5 * middle @ distances @ middle)
    found = np.zeros((count, 2))
    for place, axis in enumerate(np.argsort(-values)[:2]):
        vector = axes[:, axis] * math.sqrt(max(values[axis], 0.0))
        found[:, place] = vector * np.sign(vector[np.argmax(np.abs(vector))] or 1)
    for _ in range(300):
        moved = False
        for i in range(count):
            for j in range(i):
                way = found[i] - found[j]
                apart = float(np.hypot(*way))
                lacking = radii[i] + radii[j] + 0.05 - apart
                if lacking > 1e-3:
                    push = (way / apart if apart > 1e-9 else np.array([1.0, 0.0])) * lacking / 2
                    found[i] += push
                    found[j] -= push
                    moved = True
        if not moved:
            break
    return np.column_stack([found, radii])


def _main_directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The strongest directions of the vectors, (D, M); their signs are of no account."""
    if not len(vectors):
        return np.zeros((vectors.shape[1], 1), np.float32)
    wanted = min(_DIRECTIONS, *vectors.shape)
    wide = len(vectors) < vectors.shape[1]  # then the products of the rows tell the same in a smaller square
    square = np.asarray(vectors @ vectors.T if wide else vectors.T @ vectors, np.float64)
    if len(square) > 4 * (wanted + _SPARE):
        # A few of many directions: subspace iteration (Halko et al. 2011) needs a tenth of the time.
        axes = np.random.default_rng(0).standard_normal((len(square), wanted + _SPARE))
        for _ in range(_TURNS):
            axes, _ = np.linalg.qr(square @ axes)
        _, turned = np.linalg.eigh(axes.T @ square @ axes)
        axes = axes @ turned
    else:
        _, axes = np.linalg.eigh(square)
    axes = axes[:, ::-1][:, :wanted]
    return units((vectors.T @ axes).T.astype(np.float32)).T if wide else np.ascontiguousarray(axes, np.float32)


def _k_means(rows: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """The best of a few starts; a cluster that runs empty goes to the row that is farthest from its own."""
    if not len(rows):
        return np.zeros((1, rows.shape[1]), np.float32)
    best, best_fit = rows[:1], -math.inf
    for start in range(_STARTS if count > 1 else 1):
        centres = _spread_out(rows, count, np.random.default_rng([seed, start]))
        before: NDArray[np.int64] | None = None
        for _ in range(_ROUNDS):
            scores = rows @ centres.T
            labels = scores.argmax(axis=1)
            if before is not None and np.array_equal(labels, before):
                break
            before = labels
            sums = np.asarray((labels == np.arange(count)[:, None]).astype(np.float32) @ rows)
            empty = np.flatnonzero(np.bincount(labels, minlength=count) == 0)
            if len(empty):
                sums[empty] = rows[np.argsort(scores.max(axis=1), kind="stable")[: len(empty)]]
            centres = units(sums)
        fit = float((rows @ centres.T).max(axis=1).sum())
        if fit > best_fit + 1e-6:
            best, best_fit = centres, fit
    return best


def _spread_out(rows: NDArray[np.float32], count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Rows to start from: each drawn by its squared distance from those before (k-means++, Arthur and Vassilvitskii
    2007)."""
    chosen = [int(random.integers(len(rows)))]
    far = np.maximum(1 - rows @ rows[chosen[0]], 0).astype(np.float64)
    for _ in range(count - 1):
        chances = far**2
        total = chances.sum()
        chosen.append(int(random.choice(len(rows), p=chances / total)) if total > 0 else int(np.argmax(far)))
        far = np.minimum(far, np.maximum(1 - rows @ rows[chosen[-1]], 0))
    return rows[chosen].copy()
