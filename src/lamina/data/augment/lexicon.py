"""Words that may stand for words, as arrays for compiled loops: made once from a thesaurus, loaded in no time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lamina.data.augment.characters import decode, encode
from lamina.data.augment.children import hash_strings, hash_table
from lamina.kit.errors import InputError

LEXICON = 1  # of the arrays; a change makes kept lexicons stale
_FORMAT = f"lamina lexicon {LEXICON}"
POS = {"n": 1, "v": 2, "a": 4, "r": 8}
Relation = Literal["synonyms", "related"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A word (lower case) and what may stand for it, the most common first; ``pos``: bits of ``POS`` for each synonym,
    0 where it is not known."""

    word: str
    synonyms: Sequence[tuple[str, int]]
    related: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """A ``contracts.inference.Thesaurus`` over arrays: E entries, W different words, S synonyms, R related words."""

    language: str
    codes: NDArray[np.uint32]  # characters of the W words
    word_ends: NDArray[np.int64]  # (W + 1,)
    vowels: NDArray[np.uint8]  # (W,): 1 where the word begins with a vowel letter
    keys: NDArray[np.uint64]  # open addressing by the entry's hash
    places: NDArray[np.int64]
    synonym_ends: NDArray[np.int64]  # (E + 1,)
    synonym_words: NDArray[np.int64]  # (S,)
    synonym_pos: NDArray[np.uint8]  # (S,)
    related_ends: NDArray[np.int64]  # (E + 1,)
    related_words: NDArray[np.int64]  # (R,)

    def __len__(self) -> int:
        return len(self.synonym_ends) - 1

    def arrays(self, relation: Relation) -> tuple[NDArray[np.generic], ...]:
        """What the kernels look words up in."""
        if relation == "related":
            return self.keys, self.places, self.related_ends, self.related_words, self.word_ends, self.vowels
        return self.keys, self.places, self.synonym_ends, self.synonym_words, self.word_ends, self.vowels

    def synonyms(self, word: str, pos: str | None = None) -> list[str]:
        """Synonyms of ``word``, the most common first; with ``pos`` (n, v, a, r) those of that part of speech."""
        entry = self._entry(word)
        if entry is None:
            return []
        part = slice(self.synonym_ends[entry], self.synonym_ends[entry + 1])
        words, kinds = self.synonym_words[part].tolist(), self.synonym_pos[part].tolist()
        wanted = POS.get(pos or "", 15)
        return [self._word(w) for w, k in zip(words, kinds, strict=True) if not pos or not k or k & wanted]

    def related(self, word: str) -> list[str]:
        """Words near ``word`` in meaning that are no synonyms."""
        entry = self._entry(word)
        if entry is None:
            return []
        return [self._word(w) for w in self.related_words[self.related_ends[entry] : self.related_ends[entry + 1]]]

    def save(self, path: Path) -> None:
        """Write the arrays as .npz (no pickle)."""
        arrays = {name: getattr(self, name) for name in self.__slots__ if name != "language"}
        with path.open("wb") as file:
            np.savez(file, format=np.array(_FORMAT), language=np.array(self.language), **arrays)

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """What ``save`` wrote; ``InputError`` where the file is something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["format"]) != _FORMAT:
                    raise ValueError("of another version")
                arrays = {name: file[name] for name in cls.__slots__ if name != "language"}
                return cls(language=str(file["language"]), **arrays)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(f"this is no lexicon: {error}", where=str(path)) from error

    def _entry(self, word: str) -> int | None:
        key = hash_strings((word,))[0]
        at = int(key) & (len(self.keys) - 1)
        while self.keys[at]:
            if self.keys[at] == key:
                return int(self.places[at])
            at = (at + 1) % len(self.keys)
        return None

    def _word(self, number: int) -> str:
        ends = self.word_ends[number : number + 2]
        return decode(self.codes[ends[0] : ends[1]], ends - ends[0])[0]


def make_lexicon(entries: Iterable[Entry], *, language: str) -> Lexicon:
    """The arrays of ``entries``; of two entries for one word the first counts."""
    numbers: dict[str, int] = {}
    words: list[str] = []
    synonyms: list[int] = []
    kinds: list[int] = []
    related: list[int] = []
    synonym_ends, related_ends = [0], [0]
    for entry in entries:
        words.append(entry.word)
        for synonym, kind in entry.synonyms:
            synonyms.append(numbers.setdefault(synonym, len(numbers)))
            kinds.append(kind)
        related.extend(numbers.setdefault(word, len(numbers)) for word in entry.related)
        synonym_ends.append(len(synonyms))
        related_ends.append(len(related))
    keys, places = hash_table(hash_strings(words))
    texts = encode(list(numbers))
    return Lexicon(
        language=language,
        codes=texts.codes if len(texts.codes) else np.zeros(1, np.uint32),
        word_ends=texts.ends,
        vowels=np.fromiter((w[:1].lower() in "aeiou" for w in numbers), np.uint8, len(numbers)),
        keys=keys,
        places=places,
        synonym_ends=np.array(synonym_ends, np.int64),
        synonym_words=np.array(synonyms, np.int64),
        synonym_pos=np.array(kinds, np.uint8),
        related_ends=np.array(related_ends, np.int64),
        related_words=np.array(related, np.int64),
    )
