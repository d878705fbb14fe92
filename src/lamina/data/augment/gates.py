"""What a rewritten text must fulfil to stand in for the original."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from lamina.data.augment.children import scan_documents
from lamina.data.augment.chrf import chrf
from lamina.data.augment.protect import protected_spans
from lamina.data.augment.tags import primary
from lamina.data.clean.language import detect

LEAST_RATIO, MOST_RATIO = 0.5, 2.0
#: The reasons for which a text is refused.
UNCHANGED, LENGTH, NUMBERS, NAMES, SPANS, LANGUAGE = "unchanged", "length", "numbers", "names", "protected", "language"
_NUMBER = re.compile(r"\d+(?:[.,\u00a0'’]\d+)*")
_PLAIN = re.compile(r"[\W_]+")
_TELLING = 20  # characters; shorter texts do not show their language
_SAME = 95.0  # chrF between two texts that differ in next to nothing


def gate(
    originals: Sequence[str], texts: Sequence[str], *, names: Sequence[frozenset[str]] | None = None
) -> list[str | None]:
    """For each text why it cannot stand in for its original, or None.

    It must have changed by more than marks and case (and chrF stay below 95), be half to twice as long, and hold the
    same numbers, all the original's names and all its protected spans. ``names``: from ``names_of(originals)``, where
    that is known already.
    """
    wanted = names_of(originals) if names is None else names
    found = _names_in(originals, texts, wanted)
    return [_gate(a, b, missing) for a, b, missing in zip(originals, texts, found, strict=True)]


def names_of(texts: Sequence[str], language: str | None = None) -> list[frozenset[str]]:
    """The names in each text: what stands with a capital within a sentence, acronyms, runs of capitals."""
    from lamina.data.augment.kernels import scan as kernel

    found: list[set[str]] = [set() for _ in texts]
    batch = pa.RecordBatch.from_pydict(
        {"id": [""] * len(texts), "text": list(texts), "language": pa.array([language] * len(texts), pa.string())}
    )
    for rows, scanned in scan_documents(batch, operation="", seed=0, terms=()):
        ends = scanned.texts.ends
        owners = scanned.token_ends.searchsorted(range(len(scanned.tokens)), side="right") - 1
        flags, case = scanned.tokens[:, kernel.FLAGS], scanned.tokens[:, kernel.CASE]
        named = (flags & kernel.PROTECTED > 0) & (case != kernel.PLAIN)
        length = scanned.tokens[:, kernel.END] - scanned.tokens[:, kernel.START]
        for token in (named & (length > 1)).nonzero()[0].tolist():
            row = owners[token]
            begin = int(scanned.tokens[token, kernel.START] - ends[row])
            found[rows[row]].add(texts[rows[row]][begin : begin + int(length[token])])
    return [frozenset(names) for names in found]


def same_language(texts: Sequence[str], language: str | None) -> list[bool]:
    """Whether each text is in ``language``; where that is not known, or the text too short to tell, it passes."""
    wanted = primary(language)
    if not wanted:
        return [True] * len(texts)
    found = detect([text if len(text) >= _TELLING else None for text in texts])
    return [not candidates or candidates[0][0] == wanted for candidates in found]


def numbers(text: str) -> Counter[str]:
    """The numbers of a text by their digits; 1,000 and 1.000 are the same."""
    return Counter(re.sub(r"\D", "", number) for number in _NUMBER.findall(text))


def _names_in(originals: Sequence[str], texts: Sequence[str], names: Sequence[frozenset[str]]) -> list[bool]:
    return [all(name in text for name in known) for _, text, known in zip(originals, texts, names, strict=True)]


def _is_unchanged(original: str, text: str) -> bool:
    if _PLAIN.sub("", original).lower() == _PLAIN.sub("", text).lower():
        return True
    before, after = original.split(), text.split()
    if (Counter(before) & Counter(after)).total() < 0.75 * max(len(before), len(after)):
        return False  # too far apart to be worth the finer measure
    return chrf([text], [original]) >= _SAME


def _gate(original: str, text: str, names_kept: bool) -> str | None:
    if not text.strip() or not LEAST_RATIO <= len(text) / max(1, len(original)) <= MOST_RATIO:
        return LENGTH
    if _is_unchanged(original, text):
        return UNCHANGED
    if numbers(original) != numbers(text):
        return NUMBERS
    if not names_kept:
        return NAMES
    spans = (original[a:b] for a, b in protected_spans(original))
    return None if all(span in text for span in spans) else SPANS
