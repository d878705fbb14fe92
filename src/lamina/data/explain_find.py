"""The documents that an id, an address or words of a text name, dropped ones included; or what is known instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.data.units import SAMPLE_CHARACTERS, SAMPLES
from lamina.data.web.addresses import host_of, page_key
from lamina.kit.errors import NotFoundError

if TYPE_CHECKING:
    import polars as pl

MOST = 6  # documents that fit
_WORDS = 60  # of a text that are looked for: patterns of Rust have a largest size
_SNIPPET = 12  # characters that a piece of text must have to be looked for


def data(corpus: Path) -> pl.LazyFrame:
    """The kept documents of a corpus; ``file`` is where each stands."""
    import polars as pl

    return pl.scan_parquet(sorted((corpus / "data").glob("*.parquet")), include_file_paths="file")


def find(corpus: Path, query: str) -> list[str]:
    """Ids that fit, the best first, at most ``MOST``. Kept ones are looked for before dropped ones, ids before
    addresses, addresses before words.

    Raises ``NotFoundError`` where nothing fits, saying what is known: why an address was not read, and how many texts
    of dropped documents were kept to look in.
    """
    ways = (_by_name, _by_page, _by_words)
    for way in ways:
        if found := way(corpus, query):
            return found
    raise _nothing(corpus, query)


def _by_name(corpus: Path, query: str) -> list[str]:
    """By id, or by the address as it stands."""
    import polars as pl

    named = (pl.col("id") == query) | (pl.col("url") == query)
    found = _ids(data(corpus).filter(named))
    gone = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("id") == query)
    return found or _ids(gone) or _among(_addresses(corpus), pl.col("url") == query)


def _by_page(corpus: Path, query: str) -> list[str]:
    """By the page: scheme, tracking parameters, fragment and a last slash don't count; by the end of a path."""
    import polars as pl

    host = host_of(query)
    if not host:
        ends = pl.col("url").str.ends_with(f"/{query.strip('/')}")
        return [] if any(c.isspace() for c in query) else _among([data(corpus), *_addresses(corpus)], ends)
    wanted = _page(query)
    last = re.split(r"[?#]", query)[0].rstrip("/").rpartition("/")[2]
    near = pl.col("url").str.contains(f"(?i){_escaped(host)}")
    if last.lower() != host:  # the same pages are few, so that Python may look at each
        near &= pl.col("url").str.contains(last, literal=True)
    else:
        near &= pl.col("url").str.count_matches("/", literal=True) <= 3
    for frame in (data(corpus), *_addresses(corpus)):
        rows = frame.filter(near).select("id", "url").collect()
        if found := [id for id, url in rows.iter_rows() if _page(url) == wanted]:
            return list(dict.fromkeys(found))[:MOST]
    return []


def _page(url: str) -> str:
    return re.sub(r"/(?=\?|$)", "", page_key(url))


def _by_words(corpus: Path, query: str) -> list[str]:
    """By words of the text: as they stand, then whatever the case and the signs between them, then in the ledger."""
    import polars as pl

    words = query.split()[:_WORDS]
    if len(" ".join(words)) < _SNIPPET:
        return []
    exact = r"\s+".join(map(_escaped, words))
    loose = r"(?i)" + r"\W+".join(re.findall(r"\w+", " ".join(words)) or [exact])
    texts = [data(corpus).select("id", "text"), *_dropped(corpus)]
    for pattern in (exact, loose):
        if found := _among(texts, pl.col("text").str.contains(pattern)):
            return found
    # What an edit took out stands in its ledger row alone; JSON writes the ends of lines as \n.
    told = r"(?:\s|\\[ntr])+".join(_escaped(word.replace("\\", "\\\\").replace('"', '\\"')) for word in words)
    return _among([pl.scan_parquet(corpus / "ledger.parquet")], pl.col("detail").str.contains(told))


def _escaped(word: str) -> str:
    """For Rust, which knows no needless escapes."""
    return re.sub(r"\\([-&~# ])", r"\1", re.escape(word))


def _among(frames: Sequence[pl.LazyFrame], wanted: pl.Expr) -> list[str]:
    """Of each frame in turn, until one has some; of the texts those of kept and dropped ones together."""
    found = [id for frame in frames for id in _ids(frame.filter(wanted))]
    return list(dict.fromkeys(found))[:MOST]


def _ids(frame: pl.LazyFrame) -> list[str]:
    return [str(id) for id in frame.select("id").head(MOST).collect()["id"].unique(maintain_order=True)]


def _addresses(corpus: Path) -> list[pl.LazyFrame]:
    """What tells the addresses of all documents, dropped ones too."""
    import polars as pl

    files = [pl.scan_parquet(file) for file in sorted((corpus / "signals").glob("*.parquet"))]
    return [file.select("id", "url") for file in files if "url" in file.collect_schema().names()]


def _dropped(corpus: Path) -> list[pl.LazyFrame]:
    import polars as pl

    file = corpus / "dropped.parquet"
    return [pl.scan_parquet(file).select("id", "text")] if file.exists() else []


def _nothing(corpus: Path, query: str) -> NotFoundError:
    """What is known of a document that cannot be found."""
    import polars as pl

    shown = query if len(query) <= 80 else f"{query[:80]}…"
    file = corpus / "unread.jsonl"
    if file.exists() and file.stat().st_size:
        names = {"source": pl.String, "name": pl.String, "reason": pl.String}
        unread = pl.scan_ndjson(file, schema=names)
        key = _page(query) if host_of(query) else None
        for source, name, reason in unread.collect().iter_rows():
            if name == query or (key and host_of(name) and _page(name) == key):
                return NotFoundError(f"'{shown}' was not read: {reason}", where=f"source '{source}'")
    gone = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action").is_in(["drop", "duplicate"]))
    lost = int(gone.select(pl.col("id").n_unique()).collect().item())
    kept = sum(int(f.select(pl.col("id").n_unique()).collect().item()) for f in _dropped(corpus))
    what = f"no document has the id or URL '{shown}', or these words in its text"
    if kept < lost:
        what += (
            f"; of {lost:,} dropped documents the texts of {kept:,} are kept ({SAMPLES:,} of each step and source,"
            f" {SAMPLE_CHARACTERS:,} characters of each): the words may stand in another, which its id or URL finds"
        )
    return NotFoundError(what, where=str(corpus), hint='lamina data explain ID | URL | "words of the text"')
