"""A thesaurus from word vectors: the words whose vectors point the same way (word2vec and GloVe text files, npz)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lamina.data.augment.lexicon import Entry
from lamina.kit.errors import InputError

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_BLOCK = 512


def read_vectors(path: Path, *, words: int = 20_000) -> tuple[list[str], NDArray[np.float32]]:
    """The first ``words`` words of a file (files list the commonest first) and their vectors (W, D).

    Text: a word and its numbers on a line, with or without word2vec's first line of counts. npz: the arrays ``words``
    and ``vectors``. Raises ``InputError`` for anything else.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return [str(w) for w in file["words"][:words]], np.asarray(file["vectors"][:words], np.float32)
        names: list[str] = []
        rows: list[NDArray[np.float32]] = []
        with path.open(encoding="utf-8", errors="replace") as text:
            for number, line in enumerate(text):
                fields = line.rstrip().split(" ")
                if number == 0 and len(fields) == 2 and all(f.isdigit() for f in fields):
                    continue
                names.append(fields[0])
                rows.append(np.array(fields[1:], np.float32))
                if len(names) == words:
                    break
        vectors = np.stack(rows)
        if not vectors.shape[1]:
            raise ValueError("words without numbers")
        return names, vectors
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"these are no word vectors: {error}", where=str(path)) from error


def read_neighbours(
    path: Path, *, words: int = 20_000, synonyms: int = 5, related: int = 10, least: float = 0.5
) -> Iterator[Entry]:
    """Each word with its nearest neighbours by cosine: the first ``synonyms`` that reach ``least`` count as synonyms,
    the next as related words. Neighbours of a word are its opposites too: hot and cold.
    """
    names, vectors = read_vectors(path, words=words)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = [i for i, name in enumerate(names) if _WORD.fullmatch(name) and name == name.lower() and lengths[i] > 0]
    names = [names[i] for i in kept]
    vectors = vectors[kept] / lengths[kept]
    count = min(synonyms + related + 1, len(names))
    for begin in range(0, len(names), _BLOCK):
        scores = vectors[begin : begin + _BLOCK] @ vectors.T
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        for row, candidates in enumerate(best):
            order = sorted(candidates.tolist(), key=lambda c: (-scores[row, c], c))
            near = [c for c in order if c != begin + row and _differ(names[c], names[begin + row])]
            close = [names[c] for c in near[:synonyms] if scores[row, c] >= least]
            far = [names[c] for c in near if names[c] not in close][:related]
            if close or far:
                yield Entry(word=names[begin + row], synonyms=tuple((c, 0) for c in close), related=tuple(far))


def _differ(a: str, b: str) -> bool:
    """Whether two words are more than forms of each other, as far as their beginnings tell."""
    stem = min(len(a), len(b), 6)
    return not (stem >= 4 and a[:stem] == b[:stem] and abs(len(a) - len(b)) <= 3)
