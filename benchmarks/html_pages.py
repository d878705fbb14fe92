"""Web pages whose text is known, because the packages that hold them hold their sources too.

Sphinx in many themes (reStructuredText), git (AsciiDoc), Node.js (Markdown), GNOME's help (Mallard), MATE's and KDE's
handbooks (DocBook), from Debian packages. The known text is the source without its markup. A page is used only where
that text and all the text of the page agree well enough (what is generated, such as kernel-doc, stands in no source),
whoever reads the page. The extractor was made with the pages of ``TUNED`` in view, and not those of ``HELD_OUT``.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import html_help  # beside this file
import pyarrow as pa
import pyarrow.parquet as pq
from html_markup import PLAIN
from machine import ROOT
from resiliparse.extract.html2text import extract_plain_text

from lamina.kit.errors import LaminaError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import open_progress

#: Debian package: kind of its sources.
TUNED = {
    "python3.11-doc": "rst",
    "linux-doc-6.1": "rst",
    "cmake-doc": "rst",
    "python-flask-doc": "rst",
    "python-celery-doc": "rst",
    "borgbackup-doc": "rst",
    "buildbot-doc": "rst",
    "git-doc": "asciidoc",
    "nodejs-doc": "markdown",
    "gnome-user-docs": "mallard",
    "krusader": "handbook",
}
HELD_OUT = {
    "nova-doc": "rst",
    "python-aiohttp-doc": "rst",
    "python-attr-doc": "rst",
    "python-pandas-doc": "rst",
    "python-pytest-doc": "rst",
    "python-setuptools-doc": "rst",
    "python-werkzeug-doc": "rst",
    "evince-common": "mallard",
    "gedit-common": "mallard",
    "mate-user-guide": "docbook",
    "kate5-data": "handbook",
    "kmymoney-common": "handbook",
    "okular": "handbook",
}
XML = ("mallard", "docbook", "handbook")
MOST = 40  # pages of a package
_LEAST_WORDS = 100
_COVERED = 0.95  # share of the known words that stand on the page
_GENERATED = 0.5  # of the words of a page that may stand in no source, where pages are generated; navigation is more
_WORD = re.compile(r"\w+")


def pages() -> pa.Table:
    """Columns package, kind, held_out, html, known; made at the first call. What cannot be had is named, left out."""
    place = ROOT / ".cache" / "bench" / "html_pages.parquet"
    if not place.is_file():
        rows: list[dict[str, Any]] = []
        for name, kind in (TUNED | HELD_OUT).items():
            about = {"package": name, "kind": kind, "held_out": name in HELD_OUT}
            rows += [about | {"html": html, "known": known} for html, known in _good(_of_package(name, kind), kind)]
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = place.with_suffix(".part")
        pq.write_table(pa.Table.from_pylist(rows), staged, compression="zstd")
        staged.rename(place)
    return pq.read_table(place)


def words(text: str) -> Counter[str]:
    """The bag of words of a text."""
    return Counter(_WORD.findall(text.lower()))


def agreement(found: Counter[str], known: Counter[str]) -> tuple[float, float]:
    """(precision, recall) of one bag of words against another."""
    common = (found & known).total()
    return common / max(1, found.total()), common / max(1, known.total())


def _good(found: Iterator[tuple[str, str]], kind: str) -> Iterator[tuple[str, str]]:
    left = MOST
    for html, known in found:
        bag = words(known)
        if bag.total() < _LEAST_WORDS:
            continue
        precision, recall = agreement(words(extract_plain_text(html, main_content=False)), bag)
        if recall >= _COVERED and (kind in XML or precision >= 1 - _GENERATED):
            yield html, known
            left -= 1
            if not left:
                return


def _of_package(name: str, kind: str) -> Iterator[tuple[str, str]]:
    try:
        folder = _fetched(name)
        xslt = _fetched("yelp-xsl") / "usr/share/yelp-xsl/xslt" if kind in ("mallard", "docbook") else folder
    except LaminaError as error:
        sys.stderr.write(f"without {name}: {error}\n")
        return
    if kind == "mallard":
        for book in sorted({page.parent for page in folder.glob("usr/share/help/C/**/*.page")}):
            yield from html_help.mallard(book, xslt)
    elif kind == "docbook":
        for book in sorted(folder.glob("usr/share/help/C/*/index.docbook")):
            yield from html_help.docbook(book, xslt)
    elif kind == "handbook":
        for packed in sorted(folder.glob("usr/share/doc/HTML/en/*/index.cache.bz2")):
            yield from html_help.handbook(packed.with_name("index.docbook"))
    else:
        yield from _with_sources(folder)


def _with_sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Pages in HTML beside the files that they were made from."""
    for page in sorted(
        folder.glob("usr/share/doc/**/*.html"), key=lambda page: html_help.drawn(str(page.relative_to(folder)))
    ):
        source = _source_of(page)
        if page.is_symlink() or source is None:
            continue
        raw = source.read_bytes()
        text = (gzip.decompress(raw) if source.suffix == ".gz" else raw).decode("utf-8", "replace")
        html = page.read_text(encoding="utf-8", errors="replace")
        yield html, PLAIN[_markup(source, page)](text)


def _source_of(page: Path) -> Path | None:
    """Sphinx keeps sources under _sources; git and Node.js have them beside the page."""
    top = next((parent for parent in page.parents if (parent / "_sources").is_dir()), None)
    places = [page.with_suffix(".txt"), page.with_name(f"{page.stem}.md.gz")]
    if top is not None:
        inside = page.relative_to(top).with_suffix("")
        places = [top / "_sources" / f"{inside}{suffix}" for suffix in (".rst.txt", ".md.txt", ".txt")]
    return next((place for place in places if place.is_file()), None)


def _markup(source: Path, page: Path) -> str:
    if ".md" in source.suffixes:
        return "markdown"
    return "asciidoc" if source.parent == page.parent else "rst"


def _fetched(name: str) -> Path:
    progress = open_progress("plain")
    return fetch_location(f"deb:{name}", cache=ROOT / ".cache" / "material", progress=progress).path


if __name__ == "__main__":
    for row in pages().group_by("package", use_threads=False).aggregate([("html", "count")]).to_pylist():
        sys.stdout.write(f"{row['package']}: {row['html_count']} pages\n")
