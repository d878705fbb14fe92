"""Where a text may be cut so that its parts have the ids of the whole: then what a part becomes can be remembered.

In most tokenizers no token reaches from one kind of character into certain others behind it (from a letter into a
space, say), and what stands before a cut says nothing about what comes behind it. Which kinds those are is known for
the parts named here; of any other part nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Kinds of characters. OTHER is what is not ASCII, and control characters.
OTHER, LETTER, DIGIT, APOSTROPHE, MARK, SPACE, WHITE = range(7)
#: Row: the kind before, column: the kind behind. True: a text may be cut between the two.
Cuts = NDArray[np.bool_]

#: GPT-2's pattern (Radford et al. 2019) with digits one by one.
PATTERN_BYTES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
#: Words with the space before them, runs of spaces, other white space; spaces are written "▁" when it is applied.
PATTERN_PIECES = r"▁+(?=▁[^\s▁])|▁?[^\s▁]+|▁+|\s+"
_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"

_INK = (LETTER, DIGIT, APOSTROPHE, MARK)


def _cuts(*pairs: tuple[Iterable[int], Iterable[int]]) -> Cuts:
    """Cuts between each kind of the first and each of the second, and before every space behind ink."""
    cuts = np.zeros((7, 7), np.bool_)
    cuts[:, SPACE] = True  # behind what is not ASCII only where that is no space: see the kernels
    cuts[[SPACE, WHITE], SPACE] = False
    for before, behind in pairs:
        cuts[np.ix_(list(before), list(behind))] = True
    return cuts


_BETWEEN = ((LETTER,), (DIGIT, APOSTROPHE, MARK, WHITE)), ((DIGIT,), (LETTER, APOSTROPHE, MARK, WHITE))
#: Only before spaces behind ink.
SPACES = _cuts()
_GPT2 = _cuts(*_BETWEEN, ((MARK,), (LETTER, DIGIT, WHITE)), ((APOSTROPHE,), (DIGIT, WHITE)))
_GPT4 = _cuts(*_BETWEEN, ((MARK, APOSTROPHE), (DIGIT,)))  # a mark may begin a word, and end with line breaks
_BERT = _cuts(((LETTER, DIGIT), (APOSTROPHE, MARK, WHITE)), ((APOSTROPHE, MARK), range(1, 7)), ((SPACE, WHITE), _INK))
_PIECES = _cuts((_INK, (WHITE,)), ((SPACE,), (WHITE,)), ((WHITE,), (*_INK, SPACE)))
_ONE_BY_ONE = _cuts(((DIGIT,), (DIGIT,)))

_PATTERNS = {
    PATTERN_BYTES: _GPT2 | _ONE_BY_ONE,
    PATTERN_PIECES: _PIECES,
    rf"{_ENGLISH}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}": _GPT4,  # Llama 3
    rf"{_ENGLISH}|{_LETTERS}|\p{{N}}|{_REST}": _GPT4 | _ONE_BY_ONE,  # Qwen 2
}
#: Character by character, or composing only with what cannot be a space.
_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase"}
#: The same, but these may take away what stands between two spaces.
_REMOVING = {"StripAccents", "BertNormalizer"}
_DROPPING = {"Whitespace", "WhitespaceSplit", "BertPreTokenizer"}  # of white space


def cuts_of(parsed: Mapping[str, Any]) -> Cuts | None:
    """Where the texts of this ``tokenizer.json`` may be cut, (7, 7) by kinds; None: nowhere that is known.

    Parts but the first are given to it as what goes on after other text: no space is put in front of them.
    """
    steps = list(_steps(parsed.get("pre_tokenizer"), "pretokenizers"))
    added = parsed.get("added_tokens") or []
    if not _local(parsed, steps) or any(" " in token["content"].lstrip(" ") for token in added):
        return None
    plain = [token for token in added if not token.get("special")]
    if any(token.get("lstrip") or token.get("rstrip") or token.get("single_word") for token in plain):
        return None
    # Each stretch between added tokens or cuts would get a space in front, in the middle of a part too.
    if any(_prefixes(step) and (place or plain) for place, step in enumerate(steps)):
        return None
    found = [_effect(step) for step in steps]
    cuts = next((some for some in found if some is not None and some.any()), None)
    if cuts is None or any(some is None for some in found):
        return None
    if cuts is _GPT2 and any(step.get("individual_digits") for step in steps):
        cuts = _GPT2 | _ONE_BY_ONE
    if any(_cut_inside(token["content"], cuts) for token in plain):
        return SPACES
    model = parsed["model"]
    if model.get("type", "BPE") == "BPE" and not model.get("ignore_merges"):
        return cuts
    # What spells a control token is cut behind its first character: here too, if it can only come in one part.
    alone = [] if cuts is not _BERT else [APOSTROPHE, MARK]
    broken = [t["content"] for t in added if t.get("special") and _cut_inside(t["content"], cuts)]
    return cuts if all(kind_of(text[0]) in alone for text in broken) else SPACES


def _local(parsed: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether normalizers and model see no further than the part."""
    drops = any(step.get("type") in _DROPPING for step in steps)
    normal = _NORMALIZERS | _REMOVING if drops else _NORMALIZERS
    kinds = {n.get("type") for n in _steps(parsed.get("normalizer"), "normalizers")}
    return kinds <= normal and not parsed["model"].get("dropout")


def _prefixes(step: Mapping[str, Any]) -> bool:
    """Whether the step puts a space in front of every stretch that it sees."""
    if step.get("type") == "Metaspace":
        return step.get("prepend_scheme", "always") not in ("never", "first")
    return bool(step.get("add_prefix_space"))


def _effect(step: Mapping[str, Any]) -> Cuts | None:
    """Where the step cuts for certain; no cut where it cuts character by character; None: who knows."""
    nowhere = np.zeros((7, 7), np.bool_)
    kind = step.get("type")
    if kind == "BertPreTokenizer":
        return _BERT
    if kind in ("Whitespace", "WhitespaceSplit"):
        return SPACES
    if kind == "Metaspace" and step.get("replacement") == "▁":
        # Without a cut of its own it only writes spaces differently, for a pattern after it.
        return SPACES if step.get("split", True) else nowhere
    if kind == "ByteLevel":
        return _GPT2 if step.get("use_regex", True) else nowhere
    if kind == "Split":
        usual = step.get("behavior") == "Isolated" and not step.get("invert")
        return _PATTERNS.get((step.get("pattern") or {}).get("Regex", "")) if usual else None
    by_itself = kind == "Digits" or (kind == "Punctuation" and step.get("behavior") in ("Isolated", "Contiguous"))
    return nowhere if by_itself else None


def _cut_inside(text: str, cuts: Cuts) -> bool:
    return any(cuts[kind_of(a), kind_of(b)] for a, b in pairwise(text))


def kind_of(character: str) -> int:
    """The kind of a character."""
    if not " " < character < "\x7f":
        return SPACE if character == " " else WHITE if character in "\t\n\r" else OTHER
    if character.isalpha():
        return LETTER
    return DIGIT if character.isdigit() else APOSTROPHE if character == "'" else MARK


def _steps(value: Any, key: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if value.get("type") == "Sequence":
            for step in value.get(key, []):
                yield from _steps(step, key)
        else:
            yield value
