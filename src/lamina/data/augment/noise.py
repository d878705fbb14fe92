"""Noise injection: the slips of typing, reading and spelling that a model meets in the world."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.augment.children import CHILDREN, Scanned, make_children
from lamina.data.augment.keyboards import OCR, Confusions, confusions, neighbours
from lamina.data.augment.lexicon import Entry, Lexicon, make_lexicon
from lamina.data.augment.protect import read_terms
from lamina.kit.errors import ConfigError
from lamina.kit.registry import AUGMENTERS

Kind = Literal["keyboard", "ocr", "spelling", "case", "punctuation", "spacing"]
Layout = Literal["qwerty", "qwertz", "azerty", "spanish"]
_KINDS: tuple[Kind, ...] = ("keyboard", "ocr", "spelling", "case", "punctuation", "spacing")
_LAYOUT_OF: dict[str, Layout] = {"de": "qwertz", "fr": "azerty", "es": "spanish"}
_PAIR = re.compile(r"^\s*([^#!\s][^,:\t]*?)\s*(?:->|=>|\t|,|:)\s*(.+?)\s*$")


@AUGMENTERS("noise", version=1)
def noise(
    batch: pa.RecordBatch,
    *,
    copies: int = 1,
    seed: int = 0,
    kinds: tuple[Kind, ...] = ("keyboard", "spelling"),
    rate: float = 0.1,
    layout: Layout | None = None,
    misspellings: str | None = None,
    terms: tuple[str, ...] = (),
    glossary: str | None = None,
) -> pa.Table:
    """Each word slips with the probability ``rate``, in one of ``kinds``; one slip a word.

    ``keyboard``: a key beside the right one (``layout``; by default that of the document's language). ``ocr``: what
    print is misread as. ``spelling``: letters doubled, left out or exchanged, and the known misspellings of the file
    ``misspellings`` (lines ``wrong->right``, or with a tab or comma between). ``case``, ``punctuation``, ``spacing``.
    ``terms`` and the lines of the file ``glossary`` are never touched.
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"rate is {rate}; it is a share of the words, above 0 and at most 1")
    if not kinds:
        raise ConfigError("no kinds of noise are named", hint="known: " + ", ".join(_KINDS))
    if not batch.num_rows:
        return CHILDREN.empty_table()
    return inject(
        batch,
        copies=copies,
        seed=seed,
        kinds=kinds,
        rate=rate,
        typing=None if layout is None else neighbours(layout),
        reading=OCR,
        misspellings=_misspellings(misspellings, _stamp(misspellings)),
        terms=read_terms(terms, glossary),
    )


def inject(
    batch: pa.RecordBatch,
    *,
    copies: int,
    seed: int,
    kinds: Sequence[Kind],
    rate: float,
    typing: Sequence[tuple[str, str]] | None,
    reading: Sequence[tuple[str, str]],
    misspellings: Lexicon | None = None,
    terms: Sequence[str] = (),
    operation: str = "noise",
) -> pa.Table:
    """``noise`` with tables of one's own: ``typing`` (None: by language) and ``reading`` are pairs (meant, comes)."""
    chosen = np.array([_KINDS.index(kind) for kind in kinds], np.int64)
    known = misspellings or _no_misspellings()
    pools = {None if typing is not None else name: _pool(name, typing, reading, known) for name in _layouts(typing)}
    # All layouts lie in one pool, one after another, so that documents of several languages share it.
    bases = dict(zip(pools, np.cumsum([0, *(len(p.codes) for p in pools.values())]).tolist(), strict=False))

    def draw(scanned: Scanned, copies: int) -> NDArray[np.int64]:
        from lamina.data.augment.kernels import noise as kernel

        name = None if typing is not None else _LAYOUT_OF.get(scanned.language or "", "qwerty")
        pool, base = pools[name], bases[name]
        table = scanned.tables
        edits = np.empty((2 * len(scanned.tokens) * copies, 9), np.int64)
        count = kernel.slip(
            *(scanned.tokens, scanned.hashes, scanned.token_ends, scanned.seeds, scanned.texts.codes),
            *(scanned.texts.ends, (table.classes, table.lower, table.case), copies, rate, chosen),
            (pool.typing.arrays, base),
            (pool.reading.arrays, base + len(pool.typing.targets)),
            (known.arrays("synonyms"), base + len(pool.typing.targets) + len(pool.reading.targets)),
            edits,
        )
        return edits[:count]

    return make_children(
        batch,
        operation=operation,
        copies=copies,
        seed=seed,
        terms=terms,
        draw=draw,
        words=np.concatenate([p.codes for p in pools.values()]),
    )


@dataclass(frozen=True, slots=True)
class _Pool:
    """The characters that slips may put in: those of the keyboard, of misreading, of misspellings."""

    typing: Confusions
    reading: Confusions
    codes: NDArray[np.uint32]


def _pool(
    layout: Layout, typing: Sequence[tuple[str, str]] | None, reading: Sequence[tuple[str, str]], known: Lexicon
) -> _Pool:
    keys = confusions(neighbours(layout) if typing is None else typing)
    print_ = confusions(reading)
    return _Pool(keys, print_, np.concatenate([keys.targets, print_.targets, known.codes]))


def _layouts(typing: Sequence[tuple[str, str]] | None) -> tuple[Layout, ...]:
    return ("qwerty",) if typing is not None else ("qwerty", *_LAYOUT_OF.values())


@lru_cache(maxsize=1)
def _no_misspellings() -> Lexicon:
    return make_lexicon((), language="")


def _stamp(path: str | None) -> int:
    if path is None:
        return 0
    try:
        return Path(path).stat().st_mtime_ns
    except OSError as error:
        raise ConfigError(f"the list of misspellings cannot be read: {error}", where=path) from error


@lru_cache(maxsize=4)
def _misspellings(path: str | None, stamp: int) -> Lexicon | None:
    if path is None:
        return None
    wrongs: dict[str, dict[str, None]] = {}
    for line in Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines():
        match = _PAIR.match(line.strip().strip('",'))  # lists kept as JSON have a pair a line, too
        if not match:
            continue
        wrong = match[1].lower()
        for right in match[2].lower().split(","):
            if right.strip().replace("'", "").isalpha() and wrong != right.strip():
                wrongs.setdefault(right.strip(), {})[wrong] = None
    if not wrongs:
        raise ConfigError("no line says what is misspelt how", where=path, hint="write lines such as: recieve->receive")
    entries = (Entry(word=right, synonyms=tuple((w, 0) for w in found)) for right, found in wrongs.items())
    return make_lexicon(entries, language="")
