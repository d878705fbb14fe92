"""What the sides of `bench_texts.py` share: texts in, the seconds of all of them, vectors or texts out. numpy alone.

A side that makes vectors is asked `{"texts": […], "at_once": n}` and, where they are to be kept, `{"keep": FILE.npy}`;
one that writes is asked `{"texts": […], "beams": k, "tokens": n}` and tells its `"texts"`, each of n tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sides import questions, tell  # beside this file

Floats = NDArray[np.float32]
_WRITTEN_AT_ONCE = 32  # sentences of a batch, where a side does not make its batches itself


def make_vectors(embed: Callable[[list[str]], Floats]) -> None:
    """Answer until nobody asks for more; ``embed`` gives unit vectors (N, D) of texts, from text to vector."""
    for asked in questions():
        texts, size = asked["texts"], asked["at_once"]
        began = time.perf_counter()
        vectors = np.concatenate([embed(texts[i : i + size]) for i in range(0, len(texts), size)])
        told = {"seconds": time.perf_counter() - began}
        if "keep" in asked:
            np.save(asked["keep"], vectors.astype(np.float32))
        tell(told)


def write_texts(write: Callable[[list[str], int, int], list[str]]) -> None:
    """Answer until nobody asks for more; ``write`` takes texts, beams and tokens of an answer."""
    for asked in questions():
        began = time.perf_counter()
        written = write(asked["texts"], asked["beams"], asked["tokens"])
        tell({"seconds": time.perf_counter() - began, "texts": written})


def padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids (N, T) and the mask (N, T), 1 where a token stands."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), padding, np.int64)
    mask = np.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
        mask[n, : len(row)] = 1
    return ids, mask


def mean_vectors(hidden: Floats, mask: NDArray[np.int64]) -> Floats:
    """The mean of hidden states (N, T, D) where the mask (N, T) is 1, of length 1: the pooling of MiniLM's folder."""
    wide = mask[:, :, None].astype(np.float32)
    means = (hidden * wide).sum(1) / wide.sum(1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def alike(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """The places of rows in batches of rows alike in length, for a side that makes its batches by itself."""
    order = sorted(range(len(rows)), key=lambda n: -len(rows[n]))
    return [order[i : i + _WRITTEN_AT_ONCE] for i in range(0, len(order), _WRITTEN_AT_ONCE)]


def open_backend(folder: str) -> Any:
    """The tokenizer of a model's folder as Hugging Face's `tokenizers` has it, without cutting and padding."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(f"{folder}/tokenizer.json")
    backend.no_truncation()
    backend.no_padding()
    return backend
