"""What a tokenizer makes of documents: how short, how completely, at which price."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lamina.data.tokenizer.encode import Encoder, batches_of
from lamina.kit.tokenizer import ModelTokenizer


@dataclass
class Counts:
    """Of one source. ``whole``: documents that decoding gives back as they were."""

    documents: int = 0
    whole: int = 0
    bytes: int = 0
    words: int = 0
    tokens: int = 0
    unknown: int = 0

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text for each token: higher is shorter."""
        return self.bytes / self.tokens if self.tokens else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass
class Figures:
    """A tokenizer, measured. ``used``: share of the vocabulary that the documents need at least once; ``asked``: the
    vocabulary that it was to have, where a small corpus gave less."""

    name: str
    kind: str
    vocabulary: int
    used: float
    sources: dict[str, Counts] = field(default_factory=dict)
    asked: int | None = None

    @property
    def size(self) -> int:
        """What it is compared at."""
        return self.asked or self.vocabulary

    @property
    def all(self) -> Counts:
        """Of all sources together."""
        return sum(self.sources.values(), Counts())

    @property
    def fertility(self) -> float:
        """Tokens for each word (what stands between white space)."""
        return self.all.tokens / self.all.words if self.all.words else 0.0

    @property
    def unknown_rate(self) -> float:
        """Share of tokens that stand for what the vocabulary has no token for."""
        return self.all.unknown / self.all.tokens if self.all.tokens else 0.0

    @property
    def whole(self) -> float:
        """Share of documents that decoding gives back as they were."""
        return self.all.whole / self.all.documents if self.all.documents else 0.0

    def as_json(self, width: int) -> dict[str, Any]:
        """All figures; ``width`` of an embedding, for the parameters that the vocabulary costs."""
        return {
            "name": self.name,
            "kind": self.kind,
            "vocabulary": self.vocabulary,
            "bytes_per_token": self.all.bytes_per_token,
            "sources": {n: {**asdict(c), "bytes_per_token": c.bytes_per_token} for n, c in self.sources.items()},
            "fertility": self.fertility,
            "unknown_rate": self.unknown_rate,
            "comes_back": self.whole,
            "vocabulary_used": self.used,
            "embedding_parameters": self.vocabulary * width,
        }


def measure(
    name: str,
    tokenizer: ModelTokenizer,
    texts: Iterable[tuple[str, pa.Array]],
    *,
    asked: int | None = None,
    after: Callable[[float], None] | None = None,
) -> Figures:
    """The figures of ``tokenizer`` over pairs of source and texts; ``after`` hears the characters of each part."""
    encoder = Encoder(tokenizer)
    used = np.zeros(tokenizer.vocabulary, np.bool_)
    sources: dict[str, Counts] = {}
    for source, array in texts:
        counts = sources.setdefault(source, Counts())
        for batch in batches_of(array):
            ids, ends = encoder.encode(batch)
            used[ids] = True
            counts.tokens += len(ids)
            counts.unknown += int((ids == tokenizer.unk_id).sum()) if tokenizer.unk_id is not None else 0
            counts.documents += len(batch)
            counts.bytes += int(pc.sum(pc.binary_length(batch)).as_py() or 0)
            counts.words += _words(batch)
            parts = np.split(ids, ends[:-1])
            given = batch.to_pylist()
            pairs = zip(given, parts, strict=True)
            counts.whole += sum(text == tokenizer.decode(part.tolist()) for text, part in pairs)
            if after is not None:
                after(sum(map(len, given)))
    by_name = dict(sorted(sources.items()))
    return Figures(name, tokenizer.kind, tokenizer.vocabulary, float(used.mean()), by_name, asked)


def _words(texts: pa.Array) -> int:
    import polars as pl

    return int(pl.Series(pl.from_arrow(texts)).str.count_matches(r"\S+").sum())


def verdict(figures: Sequence[Figures], width: int) -> list[str]:
    """In words: the best at each size of vocabulary by bytes per token, and what it costs."""
    lines = []
    sizes = sorted({f.size for f in figures})
    best: dict[int, Figures] = {}
    for size in sizes:
        of = sorted((f for f in figures if f.size == size), key=lambda f: (-f.all.bytes_per_token, f.name))
        best[size] = of[0]
        lines.append(f"{size:,} ids: {_named(of[0])}{_against(of)}; price: {_price(of[0], width)}")
        keeps = next((f for f in of if f.whole == 1.0), None)
        if keeps is not None and keeps is not of[0]:
            less = 1 - keeps.all.bytes_per_token / of[0].all.bytes_per_token
            lines.append(f"  that gives every text back: {_named(keeps)}, {less:.1%} less")
    for small, large in pairwise(sizes):
        fewer = 1 - best[small].all.bytes_per_token / best[large].all.bytes_per_token
        more = (large - small) * width
        lines.append(
            f"from {small:,} to {large:,} ids: {fewer:.1%} fewer tokens for {more / 1e6:.1f} M parameters more"
        )
    return lines


def _named(figures: Figures) -> str:
    return f"{figures.name}, {figures.all.bytes_per_token:.3f} bytes per token"


def _against(of: Sequence[Figures]) -> str:
    if len(of) < 2:
        return ""
    ahead = of[0].all.bytes_per_token / of[1].all.bytes_per_token - 1
    return f" ({ahead:.1%} more than {of[1].name})"


def _price(figures: Figures, width: int) -> str:
    parts = [f"{figures.vocabulary * width / 1e6:.1f} M parameters of embedding at width {width}"]
    if figures.whole < 1.0:
        parts.append(f"only {figures.whole:.1%} of the documents come back as they were")
    if figures.unknown_rate:
        parts.append(f"{figures.unknown_rate:.2%} of the tokens are unknown words")
    return ", ".join(parts)
