"""Web pages whose text is known, because the packages that hold them hold their sources too.

Documentation of Python, Linux and CMake (Sphinx; reStructuredText), of git (AsciiDoc) and of Node.js (Markdown), from
Debian packages. The known text is the source without its markup. A page is used only where that text and all the text
of the page agree well enough (what is generated, such as kernel-doc, stands in no source), whoever reads the page.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from machine import ROOT  # beside this file
from resiliparse.extract.html2text import extract_plain_text

from lamina.kit.errors import LaminaError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import open_progress

#: Debian package: which pages, where the source of a page lies, how its markup is taken off.
PACKAGES: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "python3.11-doc": ("python3.11/html/**/*.html", lambda page: _sphinx(page, "html"), "rst"),
    "linux-doc-6.1": ("linux-doc-6.1/html/**/*.html", lambda page: _sphinx(page, "html"), "rst"),
    "cmake-doc": ("cmake-data/html/**/*.html", lambda page: _sphinx(page, "html"), "rst"),
    "git-doc": ("git-doc/*.html", lambda page: page.with_suffix(".txt"), "asciidoc"),
    "nodejs-doc": ("nodejs/api/*.html", lambda page: page.with_name(page.stem + ".md.gz"), "markdown"),
}
_LEAST_WORDS = 100
_COVERED = 0.95  # share of the known words that stand on the page
_WORD = re.compile(r"\w+")
_DROPPED = [
    "toctree",
    "index",
    "only",
    "highlight",
    "currentmodule",
    "contents",
    "include",
    "raw",
    "image",
    "figure",
    "literalinclude",
    "kernel-doc",
    "csv-table",
    "sectionauthor",
    "moduleauthor",
    "deprecated-removed",
    "cmake-module",
    "default-domain",
    "tabularcolumns",
    "sectnum",
    "kernel-figure",
    "kernel-render",
    "kernel-abi",
    "kernel-feat",
    "maintainers-include",
    "audit-event",
    "impl-detail",
    "cssclass",
    "math",
    "graphviz",
]
_DIRECTIVE = re.compile(r"^(\s*)\.\. +([\w:.-]+)::\s*(.*)$")
_ROLE = re.compile(r"(?::[\w:+.-]+:)?`([^`<]*?)\s*(?:<[^`>]*>)?`(?::[\w:]+:)?_*")


def pages() -> dict[str, list[tuple[str, str]]]:
    """(HTML, known text) of each page, by package. A package that cannot be fetched is left out, and named."""
    return {name: found for name in PACKAGES if (found := list(_of_package(name)))}


def words(text: str) -> Counter[str]:
    """The bag of words of a text."""
    return Counter(_WORD.findall(text.lower()))


def agreement(found: Counter[str], known: Counter[str]) -> tuple[float, float]:
    """(precision, recall) of one bag of words against another."""
    common = (found & known).total()
    return common / max(1, found.total()), common / max(1, known.total())


def _of_package(name: str) -> Iterator[tuple[str, str]]:
    pattern, source_of, markup = PACKAGES[name]
    try:
        folder = fetch_location(f"deb:{name}", cache=ROOT / ".cache" / "material", progress=open_progress("plain")).path
    except LaminaError as error:
        sys.stderr.write(f"without {name}: {error}\n")
        return
    for page in sorted(folder.glob(f"**/usr/share/doc/{pattern}")):
        source = source_of(page)
        if page.is_symlink() or not source.is_file():
            continue
        raw = source.read_bytes()
        text = (gzip.decompress(raw) if source.suffix == ".gz" else raw).decode("utf-8", "replace")
        known = _PLAIN[markup](text)
        html = page.read_text(encoding="utf-8", errors="replace")
        bag = words(known)
        if bag.total() < _LEAST_WORDS:
            continue
        precision, recall = agreement(words(extract_plain_text(html, main_content=False)), bag)
        if recall >= _COVERED and precision >= 0.5:
            yield html, known


def _sphinx(page: Path, root: str) -> Path:
    top = next((parent for parent in page.parents if parent.name == root), page.parent)
    inside = page.relative_to(top).with_suffix("")
    found = [top / "_sources" / f"{inside}{suffix}" for suffix in (".rst.txt", ".txt")]
    return next((place for place in found if place.is_file()), found[0])


def _rst(text: str) -> str:
    """reStructuredText without comments, options, targets and roles; directives with text keep it."""
    kept: list[str] = []
    skipped: int | None = None  # indentation of a directive whose content goes
    option = False
    for line in text.expandtabs(8).splitlines():
        indent = len(line) - len(line.lstrip())
        if skipped is not None:
            if not line.strip() or indent > skipped:
                continue
            skipped = None
        directive = _DIRECTIVE.match(line)
        if directive:
            name = directive[2].rpartition(":")[2]
            if name in _DROPPED or "|" in line[: line.index("::")]:
                skipped = indent
            else:
                kept.append(directive[1] + ("" if name.endswith(("block", "code")) else directive[3]))
            option = True
        elif re.match(r"\s*\.\.( |$)", line):
            skipped = indent  # a comment, a target, a substitution
        elif option and re.match(r"\s+:[\w-]+:", line):
            continue
        else:
            option = option and not line.strip()
            kept.append("" if re.fullmatch(r"\s*([=\-~^\"'#*+.`_:])\1{2,}\s*|[ =+|-]{5,}", line) else line)
    plain = _ROLE.sub(lambda m: m[1].rpartition(".")[2] if m[1].startswith("~") else m[1], "\n".join(kept))
    return re.sub(r"\|(\w+)\||\[(#?\w*)\]_", "", plain)


def _asciidoc(text: str) -> str:
    lines = [
        line
        for line in text.splitlines()
        if not re.match(r"//|(?:ifdef|ifndef|endif|include)::|\[[\w\"',= -]*\]$|[-=~^+.*_]{4,}$|:[\w-]+:", line)
    ]
    plain = re.sub(r"linkgit:([\w.-]+)\[(\d)\]", r"\1 \2", "\n".join(lines))
    plain = re.sub(r"(?:link|xref):[^\s\[]+\[([^\]]*)\]|<<[\w-]+,([^>]*)>>", r"\1\2", plain)
    return re.sub(r"\{\w+\}|\[\[[\w-]+\]\]|<<([\w-]+)>>", " ", plain)


def _markdown(text: str) -> str:
    plain = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    plain = re.sub(r"^\[[^\]]+\]:.*$|^```.*$|<[^>]{1,200}>", "", plain, flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)|\]\[[^\]]*\]", "]", plain)


_PLAIN: dict[str, Callable[[str], str]] = {"rst": _rst, "asciidoc": _asciidoc, "markdown": _markdown}

if __name__ == "__main__":
    for name, found in pages().items():
        sys.stdout.write(f"{name}: {len(found)} pages\n")
