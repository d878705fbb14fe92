"""Words and how often they stand in a corpus, and the corpus as their ranks: what word vectors are trained on.

A corpus comes as sentences of words, or as the ids of a tokenizer with the ends of documents; then the vectors are
those of the tokenizer's own tokens, and an embedding table takes them over without loss.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import InputError

#: Longer documents are cut here; only the window across a cut is lost.
PIECE = 10_000


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """V words, the most frequent first, and their ``counts`` (V,) int64; ``index[words[i]] == i``."""

    words: Sequence[str]
    counts: NDArray[np.int64]
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {word: i for i, word in enumerate(self.words)})
        if len(self.index) != len(self.words):
            raise InputError("a word stands twice in the vocabulary")

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, slots=True)
class Corpus:
    """``tokens`` (N,) int32: ranks in the vocabulary, words outside it left out; document i ends at ``ends[i]``.

    ``seen`` counts all words, those left out too.
    """

    tokens: NDArray[np.int32]
    ends: NDArray[np.int64]
    seen: int

    def __len__(self) -> int:
        return len(self.tokens)

    def pieces(self, limit: int = PIECE) -> NDArray[np.int64]:
        """Bounds (S + 1,) int64 of pieces of at most ``limit`` tokens, none of which spans two documents."""
        starts = np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])
        cuts = np.maximum((self.ends - starts + limit - 1) // limit, 1)
        inner = np.arange(cuts.sum()) - np.repeat(np.cumsum(cuts) - cuts, cuts)
        return np.append(np.repeat(starts, cuts) + inner * limit, len(self.tokens)).astype(np.int64)


def read_sentences(sentences: Iterable[Iterable[str]], *, min_count: int = 5) -> tuple[Vocabulary, Corpus]:
    """Count the words of ``sentences``, read once; words seen fewer than ``min_count`` times are left out.

    Keeps 4 bytes a token. Raises ``InputError`` for an empty corpus and for a vocabulary of fewer than two words.
    """
    ids: defaultdict[str, int] = defaultdict(count().__next__)
    tokens, ends = array("i"), array("q")
    for sentence in sentences:
        if isinstance(sentence, str):
            raise InputError("a sentence is a text, not a sequence of words", hint="split it: text.split()")
        tokens.extend(map(ids.__getitem__, sentence))
        ends.append(len(tokens))
    words = list(ids)
    return _ranked(np.array(tokens, np.int32), np.array(ends, np.int64), words, len(words), min_count)


def read_ids(
    tokens: NDArray[np.integer], ends: NDArray[np.integer], *, pieces: Sequence[str], min_count: int = 1
) -> tuple[Vocabulary, Corpus]:
    """The same for token ids (N,), whose documents end at ``ends``; ``pieces[i]`` is the text of token i."""
    tokens = np.asarray(tokens)
    bounds = np.asarray(ends, np.int64)
    if len(tokens) and (tokens.min() < 0 or tokens.max() >= len(pieces)):
        raise InputError(f"the corpus has token ids outside the vocabulary of {len(pieces):,}")
    if not np.all(np.diff(bounds, prepend=0) >= 0) or (bounds[-1] if len(bounds) else 0) != len(tokens):
        raise InputError("the ends of documents don't rise up to the number of tokens", where="ends")
    return _ranked(tokens, bounds, pieces, len(pieces), min_count)


def _ranked(
    tokens: NDArray[np.integer], ends: NDArray[np.int64], words: Sequence[str], size: int, min_count: int
) -> tuple[Vocabulary, Corpus]:
    """Ids become ranks: by count, of words as frequent the one with the lower id first."""
    if not len(tokens):
        raise InputError("the corpus is empty", hint="are the documents filtered away?")
    counts = np.bincount(tokens, minlength=size)
    order = np.argsort(-counts, kind="stable")
    order = order[: np.count_nonzero(counts >= max(min_count, 1))]
    if len(order) < 2:
        many = "no word" if not len(order) else "one word only"
        raise InputError(f"{many} stands at least {min_count} times in the corpus", hint="lower min_count")
    ranks = np.full(size, -1, np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    ranked = ranks[tokens]
    kept = ranked >= 0
    if not kept.all():
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[ends]
        ranked = ranked[kept]
    vocabulary = Vocabulary([words[i] for i in order], counts[order].astype(np.int64))
    return vocabulary, Corpus(ranked, ends, len(tokens))
