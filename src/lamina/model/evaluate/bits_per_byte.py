"""Bits per byte: how many bits a model needs for a byte of text. Models with different tokenizers can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lamina.contracts.tokens import Tokenizer
from lamina.kit.errors import ConfigError
from lamina.kit.progress import Progress
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.evaluate.score import Asked, Score, mean_score, ratio_values
from lamina.model.evaluate.scoring import Passage, batches, score
from lamina.model.transformer import Transformer

_BATCH_TOKENS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class BitsPerByte:
    """``value`` = Σ nats / ln 2 / Σ bytes; ``per_document`` (nats, UTF-8 bytes) in the order of the texts."""

    value: float
    per_document: list[tuple[float, int]]
    tokens: int  # scored


def bits_per_byte(
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    window: int = 2048,
    stride: int = 1024,
    progress: Progress | None = None,
) -> BitsPerByte:
    """Bits per byte of ``texts``: Σ nll / ln 2 ÷ UTF-8 bytes, each text starting after the token that ends documents.

    Every token is scored once, given what comes before it in a window of ``window`` tokens; the window moves by
    ``stride``, so that all but the first tokens of a text have at least ``window - stride`` before them. A model with
    a shorter context gets windows of its length.
    """
    window = min(window, model.spec.max_positions)
    stride = min(stride, window)
    if stride < 1:
        raise ConfigError(f"a stride of {stride} cannot be", where="bits_per_byte")
    start = tokenizer.end_ids[0]
    encoded = [[start, *ids] for ids in tokenizer.encode_batch(list(texts))]
    passages = [p for owner, ids in enumerate(encoded) for p in windows(ids, owner, window, stride)]
    nats = [0.0] * len(texts)
    total = sum(len(p.ids) - p.start for p in passages)
    for scored, batch in _advancing(batches(passages, max(_BATCH_TOKENS, window)), total, progress):
        for passage, value in zip(batch, score(model, batch), strict=True):
            nats[passage.owner] += value
        del scored
    sizes = [len(text.encode()) for text in texts]
    if not sum(sizes):
        raise ConfigError("there is no text to measure", where="bits_per_byte")
    value = sum(nats) / math.log(2) / sum(sizes)
    return BitsPerByte(value=value, per_document=list(zip(nats, sizes, strict=True)), tokens=total)


def bits_per_byte_score(
    model: Transformer,
    tokenizer: ModelTokenizer,
    texts: Sequence[str],
    *,
    window: int = 2048,
    stride: int = 1024,
    name: str = "bits per byte",
) -> Score:
    """``bits_per_byte`` with its standard error over texts. ``details``: perplexities for each token and each byte."""
    measured = bits_per_byte(model, tokenizer, texts, window=window, stride=stride)
    nats, sizes = zip(*measured.per_document, strict=True)
    return mean_score(
        name,
        ratio_values([n / math.log(2) for n in nats], sizes).tolist(),
        items=texts,
        asked=Asked(
            template="the text alone",
            begin=tokenizer.token_of(tokenizer.end_ids[0]) or str(tokenizer.end_ids[0]),
            normalisation=f"-log2 p per UTF-8 byte, window {window}, stride {stride}",
        ),
        better="lower",
        details={
            "perplexity of tokens": math.exp(sum(nats) / measured.tokens),
            "of bytes": 2**measured.value,
            "context": float(min(window, model.spec.max_positions)),
        },
    )


def windows(ids: Sequence[int], owner: int, window: int, stride: int) -> Iterator[Passage]:
    """Cut ``ids`` (the start token first) into windows of which each scores what none before it did."""
    done = 1  # the start token is given
    begin = 0
    while done < len(ids):
        end = min(begin + window + 1, len(ids))  # the last token is a target only
        yield Passage(ids[begin:end], done - begin, owner)
        done = end
        begin += stride


def _advancing(work: list[list[Passage]], total: int, progress: Progress | None) -> Iterator[tuple[int, list[Passage]]]:
    if progress is None:
        yield from ((0, batch) for batch in work)
        return
    with progress.task("bits per byte", total=total, unit="tokens") as task:
        for batch in work:
            scored = sum(len(p.ids) - p.start for p in batch)
            yield scored, batch
            task.advance(scored)
