"""What augmentation leaves as it is: URLs, mail addresses, handles, code, markup, formulas, placeholders, and terms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamina.data.augment.characters import Texts, encode, tables
from lamina.kit.errors import ConfigError

_CODE_SIGNS = re.compile(r"[{}();=<>\[\]_\\|]")
_INDENTED = re.compile(r"(?:\A|\n[ \t]*\n)((?:(?: {4}|\t)[^\n]*(?:\n|\Z)|[ \t]*\n)+)")
#: (what a text must hold for the pattern to be tried, the pattern). Looking for a few characters costs next to
#: nothing, so that plain prose pays for none of the patterns.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("://", re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s<>\"'`]+")),
    ("www.", re.compile(r"\bwww\.[^\s<>\"'`]+")),
    ("@", re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+|@[\w.-]*\w(?:@[\w.-]*\w)?")),
    ("#", re.compile(r"#\w+")),
    ("```", re.compile(r"^[ \t]*(`{3,})[^\n]*\n.*?(?:^[ \t]*\1`*[ \t]*$|\Z)", re.M | re.S)),
    ("~~~", re.compile(r"^[ \t]*(~{3,})[^\n]*\n.*?(?:^[ \t]*\1~*[ \t]*$|\Z)", re.M | re.S)),
    ("`", re.compile(r"(`+)(?!`)[^\n]+?(?<!`)\1(?!`)")),
    (">", re.compile(r"<[^<>\n]{1,400}>")),
    ("](", re.compile(r"\]\([^)\n]+\)")),
    ("(", re.compile(r"(?<=\w)\([^()\n]{0,200}\)")),
    ("&", re.compile(r"&#?\w{2,31};")),
    ("{", re.compile(r"\$?\{\{?[^{}\n]{0,100}\}?\}")),
    ("%", re.compile(r"%(?:\([^)\n]{1,60}\))?[-+0#]{0,3}\d*(?:\.\d+)?[sdifgexr]\b")),
    ("$", re.compile(r"\$\$.{1,5000}?\$\$|\$(?=\S)[^$\n]{1,200}(?<=\S)\$(?!\w)", re.S)),
    ("\\", re.compile(r"\\[a-zA-Z]+\*?(?:\{[^{}\n]*\})*|\\[(\[].{1,5000}?\\[)\]]", re.S)),
    ("[", re.compile(r"\[[A-Z][A-Z0-9_:. -]*\]")),
)


def protected_spans(text: str) -> list[tuple[int, int]]:
    """Where ``text`` has stretches that must stay as they are, (begin, end) in characters; they may overlap."""
    spans: list[tuple[int, int]] = []
    for sign, pattern in _PATTERNS:
        if sign in text:
            spans.extend(match.span() for match in pattern.finditer(text))
    if "    " in text or "\t" in text:
        for match in _INDENTED.finditer(text):
            if _CODE_SIGNS.search(match[1]):
                spans.append(match.span(1))
    return spans


def mask_of(strings: Sequence[str], texts: Texts) -> NDArray[np.uint8]:
    """1 for each character of ``texts`` that lies in a protected span, (C,)."""
    mask = np.zeros(len(texts.codes), np.uint8)
    for text, begin in zip(strings, texts.ends.tolist(), strict=False):  # regular expressions have no batch call
        for first, last in protected_spans(text):
            mask[begin + first : begin + last] = 1
    return mask


def read_terms(terms: Sequence[str], glossary: str | None) -> tuple[str, ...]:
    """The terms given and those of a glossary file: one a line, or the first column of a CSV or TSV; # is a comment."""
    found = list(terms)
    if glossary is not None:
        try:
            lines = Path(glossary).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the glossary cannot be read: {error}", where=glossary) from error
        for line in lines:
            term = re.split(r"[\t,;]", line, maxsplit=1)[0].strip().strip('"')
            if term and not term.startswith("#"):
                found.append(term)
    return tuple(dict.fromkeys(term for term in found if term.strip()))


@lru_cache(maxsize=8)
def term_table(terms: tuple[str, ...]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint64]]:
    """The terms as sequences of word hashes, in the order of their first words: firsts (K,), ends (K + 1,), hashes."""
    from lamina.data.augment.kernels import scan

    texts = encode(terms)
    table = tables()
    tokens = np.empty((len(texts.codes), 5), np.int64)
    hashes = np.empty(len(texts.codes), np.uint64)
    ends = np.empty(len(terms) + 1, np.int64)
    mask = np.zeros(len(texts.codes), np.uint8)
    none = np.zeros(2, np.uint64)
    scan.scan(texts.codes, texts.ends, mask, table.classes, table.lower, table.case, none, False, tokens, hashes, ends)
    words = [hashes[a:b] for a, b in pairwise(ends) if b > a]
    words.sort(key=lambda w: int(w[0]))
    lengths = np.cumsum([0, *(len(w) for w in words)]).astype(np.int64)
    flat = np.concatenate(words) if words else np.empty(0, np.uint64)
    return np.array([w[0] for w in words], np.uint64), lengths, flat
