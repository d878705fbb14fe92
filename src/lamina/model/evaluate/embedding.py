"""Texts to vectors by an encoder, as its folder says: sentence-transformers' layout, or the mean of all tokens.

Reimers and Gurevych 2019, Sentence-BERT (arXiv 1908.10084).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.evaluate.scoring import alike
from lamina.model.generate import padded
from lamina.model.layers.heads import first_token, mean_token
from lamina.model.transformer import Transformer

Pooling = Literal["mean", "first"]
_POOLING, _LENGTH = "1_Pooling/config.json", "sentence_bert_config.json"
_BATCH_TOKENS = 8192  # computed at once


class TextEmbedder:
    """``contracts.inference.Embedder`` over an encoder: unit vectors of float32."""

    def __init__(
        self, model: Transformer, tokenizer: ModelTokenizer, *, pooling: Pooling = "mean", longest: int | None = None
    ) -> None:
        self._model, self._tokenizer, self._pooling = model, tokenizer, pooling
        self._longest = min(longest or model.spec.max_positions, model.spec.max_positions)

    @classmethod
    def open(cls, folder: Path) -> TextEmbedder:
        """The model in ``folder``, pooled as its sentence-transformers files say. Raises ``ModelFileError``."""
        pooling, longest = read_pooling(folder)
        return cls(open_model(folder), open_tokenizer(folder), pooling=pooling, longest=longest)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self._model.spec.stack.embeddings.width

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (len(texts), D) of length 1; a longer text than the model reads is cut at its end."""
        found = np.zeros((len(texts), self.width), np.float32)
        rows = [self._row(text) for text in texts]
        for batch in alike([len(row) for row in rows], _BATCH_TOKENS):
            ids, segments = padded([rows[n] for n in batch])
            found[batch] = pooled(self._model(ids, segments=segments), segments, self._pooling).numpy()
        return found

    def _row(self, text: str) -> list[int]:
        framed = self._tokenizer.framed(text).ids
        if len(framed) <= self._longest:
            return framed
        return framed[: self._longest - 1] + framed[-1:]  # the end token stays


def read_pooling(folder: Path) -> tuple[Pooling, int | None]:
    """How sentence-transformers' files in ``folder`` say that vectors are made (without such files: the mean), and of
    how many tokens at most. Raises ``ModelFileError`` for another way."""
    told = _read(folder / _POOLING)
    modes = {key for key, on in told.items() if key.startswith("pooling_mode_") and on is True}
    known: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
    if len(modes) > 1 or not modes <= set(known):
        raise ModelFileError(f"the pooling {sorted(modes)} is not supported", where=str(folder / _POOLING))
    longest = _read(folder / _LENGTH).get("max_seq_length")
    return (known[modes.pop()] if modes else "mean"), int(longest) if longest else None


def pooled(hidden: Tensor, segments: Tensor, pooling: Pooling) -> Tensor:
    """Vectors (B, D) float32 of length 1, from hidden states (B, T, D) of texts one a row; ``segments`` (B, T)."""
    wide = hidden.float()
    made = mean_token(wide, segments) if pooling == "mean" else first_token(wide)
    return torch.nn.functional.normalize(made, dim=-1)


def write_pooling(folder: Path, *, width: int, longest: int) -> None:
    """Say in sentence-transformers' files that a text's vector (D = ``width``) is the mean of its tokens'."""
    layers = "sentence_transformers.models"
    files: dict[str, Any] = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{layers}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{layers}.Pooling"},
        ],
        _LENGTH: {"max_seq_length": longest, "do_lower_case": False},
        _POOLING: {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelFileError(f"not JSON: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise ModelFileError("must hold an object", where=str(path))
    return values
