"""Easy data augmentation (Wei and Zou 2019, arXiv:1901.11196) by the paper's rules.

For a text of L words, n = max(1, floor(alpha L)):

- ``synonyms``: n random words that are no stop words, each replaced by one of its synonyms chosen at random
- ``insertion``: n times a synonym of a random word that is no stop word, put in at a random place
- ``swap``: n times two random words change places (within a sentence, which is the paper's unit)
- ``deletion``: each word is left out with the probability alpha

Unlike the authors' code, only the drawn words are touched: the rest keeps its case, marks and layout, and protected
stretches stay what they are. The paper advises alpha 0.05 and 8 to 16 copies for up to 2,000 documents, 0.1
and 4 above.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.augment.children import CHILDREN, Scanned, hash_strings, make_children
from lamina.data.augment.lexicon import Lexicon
from lamina.data.augment.protect import read_terms
from lamina.data.augment.thesauri import open_thesaurus
from lamina.kit.errors import ConfigError
from lamina.kit.registry import AUGMENTERS

_NO_WORDS = np.zeros(1, np.uint32)


@AUGMENTERS("synonyms", version=1)
def synonyms(
    batch: pa.RecordBatch,
    *,
    copies: int = 1,
    seed: int = 0,
    thesaurus: str,
    alpha: float = 0.1,
    choices: int | None = None,
    terms: tuple[str, ...] = (),
    glossary: str | None = None,
) -> pa.Table:
    """Synonym replacement.

    ``thesaurus``: a folder or file that ``thesauri.open_thesaurus`` knows. ``choices``: only the so many most common
    synonyms of a word are drawn from; all, as in the paper, where it is not given. ``terms`` and the lines of the file
    ``glossary`` are never touched.
    """
    _check(alpha, choices)
    if not batch.num_rows:
        return CHILDREN.empty_table()
    lexicon = open_thesaurus(thesaurus)
    articles = hash_strings(("a", "an")) if lexicon.language == "en" else np.zeros(2, np.uint64)

    def draw(scanned: Scanned, copies: int) -> NDArray[np.int64]:
        from lamina.data.augment.kernels import eda as kernel

        edits = _room(_changes(scanned, alpha) * copies)
        count = kernel.replace(
            *(scanned.tokens, scanned.hashes, scanned.token_ends, scanned.seeds, scanned.texts.codes),
            *(copies, alpha, choices or 0, articles, lexicon.arrays("synonyms"), edits),
        )
        return edits[:count]

    return _children(batch, "synonyms", copies, seed, read_terms(terms, glossary), draw, lexicon)


@AUGMENTERS("insertion", version=1)
def insertion(
    batch: pa.RecordBatch,
    *,
    copies: int = 1,
    seed: int = 0,
    thesaurus: str,
    alpha: float = 0.1,
    words: Literal["synonyms", "related"] = "synonyms",
    choices: int | None = None,
    terms: tuple[str, ...] = (),
    glossary: str | None = None,
) -> pa.Table:
    """Random insertion. ``words``: the paper's synonyms, or ``related`` words (broader terms, siblings, neighbours).

    The other parameters are those of ``synonyms``.
    """
    _check(alpha, choices)
    if not batch.num_rows:
        return CHILDREN.empty_table()
    lexicon = open_thesaurus(thesaurus)

    def draw(scanned: Scanned, copies: int) -> NDArray[np.int64]:
        from lamina.data.augment.kernels import eda as kernel

        edits = _room(_changes(scanned, alpha) * copies)
        count = kernel.insert(
            *(scanned.tokens, scanned.hashes, scanned.token_ends, scanned.seeds, scanned.texts.codes),
            *(scanned.tables.classes, scanned.texts.ends, copies, alpha, choices or 0, lexicon.arrays(words), edits),
        )
        return edits[:count]

    return _children(batch, "insertion", copies, seed, read_terms(terms, glossary), draw, lexicon)


@AUGMENTERS("swap", version=1)
def swap(
    batch: pa.RecordBatch,
    *,
    copies: int = 1,
    seed: int = 0,
    alpha: float = 0.1,
    terms: tuple[str, ...] = (),
    glossary: str | None = None,
) -> pa.Table:
    """Random swap, within sentences. ``terms`` and the lines of the file ``glossary`` are never touched."""
    _check(alpha, None)
    if not batch.num_rows:
        return CHILDREN.empty_table()

    def draw(scanned: Scanned, copies: int) -> NDArray[np.int64]:
        from lamina.data.augment.kernels import eda as kernel

        edits = _room(2 * _changes(scanned, alpha) * copies)
        count = kernel.swap(scanned.tokens, scanned.token_ends, scanned.seeds, copies, alpha, edits)
        return edits[:count]

    return _children(batch, "swap", copies, seed, read_terms(terms, glossary), draw, None)


@AUGMENTERS("deletion", version=1)
def deletion(
    batch: pa.RecordBatch,
    *,
    copies: int = 1,
    seed: int = 0,
    alpha: float = 0.1,
    terms: tuple[str, ...] = (),
    glossary: str | None = None,
) -> pa.Table:
    """Random deletion. ``terms`` and the lines of the file ``glossary`` are never touched."""
    _check(alpha, None)
    if not batch.num_rows:
        return CHILDREN.empty_table()

    def draw(scanned: Scanned, copies: int) -> NDArray[np.int64]:
        from lamina.data.augment.kernels import eda as kernel

        texts = scanned.texts
        edits = _room(len(scanned.tokens) * copies)
        count = kernel.delete(
            *(scanned.tokens, scanned.token_ends, scanned.seeds, texts.codes, scanned.tables.classes),
            *(texts.ends, copies, alpha, edits),
        )
        return edits[:count]

    return _children(batch, "deletion", copies, seed, read_terms(terms, glossary), draw, None)


def _children(
    batch: pa.RecordBatch,
    operation: str,
    copies: int,
    seed: int,
    terms: tuple[str, ...],
    draw: Any,
    lexicon: Lexicon | None,
) -> pa.Table:
    pool = _NO_WORDS if lexicon is None else lexicon.codes
    return make_children(batch, operation=operation, copies=copies, seed=seed, terms=terms, draw=draw, words=pool)


def _changes(scanned: Scanned, alpha: float) -> int:
    """n of all documents together, or a little more."""
    counts = np.diff(scanned.token_ends)
    return int(np.maximum(1, np.floor(alpha * counts + 1e-9)).sum())


def _room(edits: int) -> NDArray[np.int64]:
    return np.empty((edits, 9), np.int64)


def _check(alpha: float, choices: int | None) -> None:
    if not 0 < alpha <= 1:
        raise ConfigError(f"alpha is {alpha}; it is a share of the words, above 0 and at most 1")
    if choices is not None and choices < 1:
        raise ConfigError(f"choices is {choices}; at least one synonym must be left to draw")
