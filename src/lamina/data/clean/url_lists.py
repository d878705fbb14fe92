"""Addresses against lists: blocked and allowed hosts, and words that no address should have.

    [[data.steps]]
    signal = "url_lists"
    block = ["lists/adult.txt.gz", "lists/toulouse"]
    allow = ["lists/ours.txt"]
    words = ["casino", "viagra"]
    [[data.steps]]
    decide = "NOT url_blocked AND url_words < 2"
    reason = "address"

What the lists may look like is said in `url_files`. After datatrove's URLFilter (Penedo et al. 2024), which knows exact
hosts and registered domains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.clean.frames import to_frame, with_columns
from lamina.data.clean.url_files import UrlLists, read_lists, read_words, to_ascii
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

_HOST = r"^(?i)https?://(?:[^/?#@]*@)?(\[[^\]/]*\]|[^/?#:]*)"
_PATH = r"^(?i)https?://[^/?#]*(/[^#]*)"
_DEEPEST = 127  # labels of a host (RFC 1035), parts of a path


@STEPS("url_lists", kind="signal", version=1)
def url_lists(
    batch: pa.RecordBatch,
    *,
    block: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    domains: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
    word_files: tuple[str, ...] = (),
) -> pa.RecordBatch:
    """Adds, for documents with an http(s) ``url`` (null for the others):

    - ``url_host`` (string): its host, in small letters and ASCII
    - ``url_blocked`` (bool): on a list of ``block`` (files or folders) or in ``domains``, and not on one of ``allow``
      that says as much about the address or more ("a.example.com" says more than "example.com")
    - ``url_list`` (string): the list that blocked it
    - ``url_allowed`` (bool): on a list of ``allow``
    - ``url_words`` (int64): how many of ``words``, and of the lines of ``word_files``, are words of the address
    - ``url_parts`` (int64): how many of ``parts`` stand in the address, also inside of words and across marks

    Raises ``ConfigError`` for a file that cannot be read, or is no list.
    """
    import polars as pl

    if not (block or allow or domains or words or parts or word_files):
        raise ConfigError("needs a list", where="url_lists", hint="block, allow, domains, words, parts or word_files")
    blocked, allowed = read_lists(block, domains), read_lists(allow)
    banned = list(dict.fromkeys([*(w.lower() for w in words), *(w for file in word_files for w in read_words(file))]))
    urls = to_frame(batch.select(["url"]))["url"]
    known = urls.unique().drop_nulls()
    hosts = _hosts(known)
    known, hosts = known.filter(hosts.is_not_null()), hosts.drop_nulls()
    bad, how_bad = _look_up(known, hosts, blocked)
    good, how_good = _look_up(known, hosts, allowed)
    wrong = (bad >= 0) & (how_bad > how_good)
    names = pl.Series([*blocked.names, None], dtype=pl.String)  # the last one stands for -1
    found = pl.DataFrame(
        {
            "url": known,
            "url_host": hosts,
            "url_blocked": wrong,
            "url_list": names.gather(np.where(wrong, bad, len(names) - 1)),
            "url_allowed": good >= 0,
            **_counted(known, banned, [p.lower() for p in parts]),
        }
    )
    rows = urls.to_frame().join(found, on="url", how="left", maintain_order="left")
    return with_columns(batch, rows.drop("url"))


def _hosts(urls: pl.Series) -> pl.Series:
    """The host of each address; null for what is no web address."""
    hosts = urls.str.extract(_HOST).str.to_lowercase().str.strip_chars_end(".")
    hosts = hosts.set(hosts == "", None)
    odd = hosts.filter(hosts.str.len_bytes() != hosts.str.len_chars()).unique().drop_nulls()
    return hosts.replace({host: to_ascii(host) for host in odd}) if len(odd) else hosts


def _look_up(urls: pl.Series, hosts: pl.Series, lists: UrlLists) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The list that an address is on (-1 for none) and how much its entry says: labels of hosts, parts of paths."""
    found = np.full(len(hosts), -1, np.int64)
    told = np.full(len(hosts), -1, np.int64)
    if len(lists.paths):
        _prefixes(_addresses(urls, hosts), lists, found, told)
    if len(lists.hosts):
        _suffixes(hosts, lists, found, told)
    return found, told


def _suffixes(hosts: pl.Series, lists: UrlLists, found: NDArray[np.int64], told: NDArray[np.int64]) -> None:
    """Each host and what it is under, from the most to the least that can be said."""
    rest = hosts
    labels = hosts.str.count_matches(".", literal=True).to_numpy() + 1
    for depth in range(_DEEPEST):
        left = (labels - depth >= 2) & (found < 0)
        if not left.any():
            break
        _note(lists.hosts.find(rest), left, labels - depth, found, told)
        rest = rest.str.extract(r"^[^.]*\.(.+)$")
    top = "." + hosts.str.extract(r"([^.]+)$")
    _note(lists.hosts.find(top), found < 0, np.ones_like(labels), found, told)


def _prefixes(addresses: pl.Series, lists: UrlLists, found: NDArray[np.int64], told: NDArray[np.int64]) -> None:
    """Each address and what it begins with."""
    rest = addresses
    for depth in range(_DEEPEST):
        left = rest.is_not_null().to_numpy() & (found < 0)
        if not left.any():
            break
        _note(lists.paths.find(rest), left, np.full(len(rest), 2 * _DEEPEST - depth), found, told)
        rest = rest.str.replace(r"[/?&][^/?&]*$", "")
        rest = rest.set(~rest.str.contains("/", literal=True), None)


def _addresses(urls: pl.Series, hosts: pl.Series) -> pl.Series:
    """Host and path without the scheme, as entries with a path are kept; null where there is no path."""
    paths = urls.str.extract(_PATH).str.to_lowercase().str.strip_chars_end("/.")
    return hosts + paths.set(paths == "", None)


def _note(
    lists: NDArray[np.int64],
    where: NDArray[np.bool_],
    says: NDArray[np.int64],
    found: NDArray[np.int64],
    told: NDArray[np.int64],
) -> None:
    hit = where & (lists >= 0)
    found[hit], told[hit] = lists[hit], says[hit]


def _counted(urls: pl.Series, words: list[str], parts: list[str]) -> dict[str, pl.Series]:
    """How many different words, and parts, each address has."""
    import polars as pl

    plain = urls.str.replace(r"^(?i)https?://(?:www\.)?", "").str.to_lowercase()
    coded = plain.filter(plain.str.contains("%", literal=True)).unique()
    if len(coded):
        plain = plain.replace({url: unquote(url).lower() for url in coded})
    split = plain.str.extract_all(r"[\p{L}\p{N}]+")
    banned = pl.Series(words, dtype=pl.String).implode()
    hits = split.list.eval(pl.element().filter(pl.element().is_in(banned)).unique()).list.len()
    joined, wanted = split.list.join(""), pl.Series(parts, dtype=pl.String).implode()
    inside = joined.str.extract_many(wanted, overlapping=True).list.n_unique()
    return {"url_words": hits.cast(pl.Int64), "url_parts": inside.cast(pl.Int64)}
