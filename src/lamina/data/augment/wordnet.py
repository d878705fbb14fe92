"""WordNet 3.0 and 3.1 from its own files (wndb(5WN)): ``data.*`` for the synsets, ``index.sense`` for frequencies.

Where ``index.sense`` is there, a word's rare senses are left out: "done" is hardly ever an adjective, and who writes
"line" hardly ever means ancestry.

WordNet: Miller 1995, "WordNet: a lexical database for English", CACM 38(11).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lamina.data.augment.inflection import IRREGULAR_FORMS, ending_ed, ending_ing, ending_s
from lamina.data.augment.lexicon import POS, Entry
from lamina.kit.errors import InputError

_FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
_KINDS = {"n": "n", "v": "v", "a": "a", "s": "a", "r": "r"}
_SENSE_KINDS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
_NEAR = ("@", "&", "^", "~")  # hypernym, similar to, see also, hyponym
_RELATED = 16  # kept of a word's related words
_RARE = 0.1  # senses met less often than this share of the word's commonest sense are left out
_WORD = re.compile(r"[a-z]+(?:[-' ][a-z]+)*")
_Key = tuple[str, int]  # part of speech and offset


@dataclass(frozen=True, slots=True)
class _Synset:
    words: tuple[str, ...]
    near: tuple[tuple[str, _Key], ...]


def find_wordnet(folder: Path) -> Path | None:
    """The folder that holds ``data.noun``, at or below ``folder``."""
    for place in (folder, folder / "dict", folder / "package" / "dict", folder / "usr" / "share" / "wordnet"):
        if (place / "data.noun").is_file():
            return place
    return next((found.parent for found in sorted(folder.rglob("data.noun"))), None)


def read_wordnet(folder: Path, *, phrases: bool = False) -> Iterator[Entry]:
    """The entries of the files in ``folder``, with the -s, -ed and -ing forms of regular words.

    ``phrases``: synonyms of several words too. Raises ``InputError`` for files that are not WordNet's.
    """
    synsets: dict[_Key, _Synset] = {}
    try:
        for kind, name in _FILES.items():
            with (folder / name).open(encoding="utf-8") as file:
                for line in file:
                    if not line.startswith(" "):  # the licence is indented
                        synsets[kind, int(line[:8])] = _synset(line)
        counts = _counts(folder / "index.sense")
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"these are no WordNet files: {error}", where=str(folder)) from error
    senses: dict[str, list[tuple[float, _Key]]] = defaultdict(list)
    for key, synset in synsets.items():
        for word in synset.words:
            if word.islower() and (phrases or " " not in word):
                senses[word].append((counts.get((word, key), 0), key))
    rank = {"n": 0, "v": 1, "a": 2, "r": 3}
    for found in senses.values():
        found.sort(key=lambda sense: (-sense[0], rank[sense[1][0]]))
        found[:] = [sense for sense in found if sense[0] >= _RARE * found[0][0]]
    yield from _entries(senses, synsets, phrases)


def _synset(line: str) -> _Synset:
    fields = line.split(" | ", 1)[0].split(" ")
    count = int(fields[3], 16)
    words = tuple(w.split("(")[0].replace("_", " ") for w in fields[4 : 4 + 2 * count : 2])
    at = 5 + 2 * count
    pointers = range(at, at + 4 * int(fields[at - 1]), 4)
    near = ((fields[p][0], (_KINDS[fields[p + 2]], int(fields[p + 1]))) for p in pointers if fields[p][0] in _NEAR)
    return _Synset(words, tuple(near))


def _counts(path: Path) -> dict[tuple[str, _Key], float]:
    """How often a word was met in each sense (in the SemCor corpus); empty where there is no such file."""
    found: dict[tuple[str, _Key], float] = {}
    if not path.is_file():
        return found
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith(" 0\n"):
                continue
            key, offset, number, count = line.split()
            word, _, rest = key.partition("%")
            # Of senses met equally often, the order of their numbers holds.
            found[word.replace("_", " "), (_SENSE_KINDS[rest[0]], int(offset))] = int(count) - int(number) / 1000
    return found


def _entries(
    senses: dict[str, list[tuple[float, _Key]]], synsets: dict[_Key, _Synset], phrases: bool
) -> Iterator[Entry]:
    def fits(word: str) -> bool:
        return bool(_WORD.fullmatch(word)) and (phrases or " " not in word)

    forms: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for word, found in senses.items():
        if word in IRREGULAR_FORMS:  # "thought" is far more often the verb than the noun
            continue
        synonyms, related = _kin(word, [key for _, key in found], synsets, fits)
        if not synonyms and not related:
            continue
        yield Entry(word=word, synonyms=tuple(synonyms.items()), related=tuple(related)[:_RELATED])
        for form, pair in _inflected(word, synonyms):
            if form not in senses:
                forms[form].append(pair)
    for form, pairs in forms.items():
        yield Entry(word=form, synonyms=tuple(dict.fromkeys((s, bits) for _, s, bits in pairs)))


def _kin(
    word: str, places: list[_Key], synsets: dict[_Key, _Synset], fits: Callable[[str], bool]
) -> tuple[dict[str, int], dict[str, None]]:
    """The synonyms of a word in its senses with their parts of speech, and the words near these senses."""
    synonyms: dict[str, int] = {}
    related: dict[str, None] = {}
    for key in places:
        for other in synsets[key].words:
            if other != word and fits(other):
                synonyms[other] = synonyms.get(other, 0) | POS[key[0]]
        for _, place in sorted(synsets[key].near, key=lambda n: _NEAR.index(n[0])):
            related.update((w, None) for w in synsets[place].words[:2] if w != word and fits(w))
    for taken in synonyms:
        related.pop(taken, None)
    return synonyms, related


def _inflected(word: str, synonyms: dict[str, int]) -> Iterator[tuple[str, tuple[str, str, int]]]:
    """Each safe form of ``word`` with the same form of each synonym of a part of speech that has it."""
    for ending, kinds in ((ending_s, POS["n"] | POS["v"]), (ending_ed, POS["v"]), (ending_ing, POS["v"])):
        form = ending(word)
        if form is None:
            continue
        for synonym, bits in synonyms.items():
            if bits & kinds and " " not in synonym and "-" not in synonym:
                other = ending(synonym)
                if other is not None:
                    yield form, (word, other, bits & kinds)
