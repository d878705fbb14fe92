"""What calibrated quantisation reads: tokens of the stack's own training documents, never of those held out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lamina.kit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.deployment.compress.calibrated import Method
    from lamina.kit.progress import Progress
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.transformer import Transformer

TOKENS = 24_576
_LENGTH = 512  # of a row
_ROWS = 8  # of a batch
_DOCUMENTS = 8192  # that are looked at, at most


def calibrated(model: Transformer, method: Method, corpus: Path, *, tokens_of: Path, progress: Progress) -> Transformer:
    """A plain decoder, quantised in place by ``method`` with what ``corpus`` has; ``tokens_of``: has its tokenizer."""
    from lamina.deployment.compress.calibrated import quantize_calibrated
    from lamina.kit.tokenizer import open_tokenizer

    batches = calibration_batches(corpus, open_tokenizer(tokens_of), context=model.spec.max_positions)
    return quantize_calibrated(model, method, batches, progress=progress)


def calibration_batches(corpus: Path, tokenizer: ModelTokenizer, *, context: int, tokens: int = TOKENS) -> list[Tensor]:
    """Batches of token ids (B, T) from training documents of ``corpus``, in the order of their ids, which is random.

    Documents follow each other, each after the token that ends the one before; of a long one only the beginning is
    taken. Rows have 512 tokens, or ``context`` where a model can read no more. Raises ``ConfigError`` where there is
    nothing to read.
    """
    import polars as pl
    import torch

    files = sorted((corpus / "data").glob("train-*.parquet"))
    length = min(_LENGTH, context)
    found: list[int] = []
    if files:
        documents = pl.scan_parquet(files).select("id", "text").bottom_k(_DOCUMENTS, by="id").sort("id").collect()
        for text in documents["text"]:
            found += [tokenizer.end_ids[0], *tokenizer.encode(text[: length * 8])[: length - 1]]
            if len(found) >= tokens:
                break
    if len(found) < 2:
        raise ConfigError(
            "there are no training documents to calibrate with",
            where="deployment.calibrate",
            hint='deployment.calibrate = "none"',
        )
    length = min(length, len(found))
    rows = torch.tensor(found[: len(found) // length * length]).view(-1, length)
    return [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
