from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lamina.data.augment.inflection import IRREGULAR_FORMS, ending_ed, ending_ing, ending_s
from lamina.data.augment.lexicon import Entry, Lexicon, make_lexicon
from lamina.data.augment.thesauri import compile_thesaurus, open_thesaurus
from lamina.data.augment.vectors import read_vectors
from lamina.kit.errors import ConfigError, InputError

NOUNS = """  1 This software and database is being provided to you
00001740 03 n 02 dwelling 0 domicile 0 001 ~ 00002000 n 0000 | housing that someone is living in
00002000 03 n 03 house 0 home 1 menage_a_trois 0 001 @ 00001740 n 0000 | a dwelling; "he has a house"
00003000 03 n 02 house 1 Parliament 0 000 | an official assembly
00004000 03 n 02 house 2 zodiac 0 000 | in astrology
00005000 03 n 02 man 0 fellow 0 000 | a person
"""
VERBS = """00007000 30 v 02 house 3 accommodate 0 000 01 + 08 00 | provide housing for
00008000 30 v 02 walk 0 stroll 0 000 01 + 02 00 | go on foot
"""
ADJECTIVES = """00009000 00 a 01 big 0 001 & 00009100 a 0000 | large
00009100 00 s 02 huge 0 vast(a) 0 001 & 00009000 a 0000 | very big
"""
SENSES = """house%1:06:00:: 00002000 1 90
house%1:14:00:: 00003000 2 20
house%1:15:00:: 00004000 3 0
house%2:41:00:: 00007000 1 30
"""


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    folder = tmp_path / "package" / "dict"
    folder.mkdir(parents=True)
    for name, text in (("noun", NOUNS), ("verb", VERBS), ("adj", ADJECTIVES), ("adv", "")):
        (folder / f"data.{name}").write_text(text)
    return folder


def test_wordnet_files_are_read(wordnet: Path) -> None:
    found = open_thesaurus(wordnet.parents[1])
    assert found.language == "en"
    assert found.synonyms("dwelling") == ["domicile"]
    assert found.synonyms("house") == ["home", "zodiac", "accommodate"]
    assert found.synonyms("house", "n") == ["home", "zodiac"]
    assert found.synonyms("HOUSE", "v") == ["accommodate"]
    assert found.related("house") == ["dwelling", "domicile"]
    assert found.synonyms("huge") == ["vast"]
    assert found.related("big") == ["huge", "vast"]
    assert found.synonyms("nothing") == []


def test_frequencies_order_senses_and_leave_out_rare_ones(wordnet: Path) -> None:
    (wordnet / "index.sense").write_text(SENSES)
    assert open_thesaurus(wordnet).synonyms("house") == ["home", "accommodate"]
    (wordnet / "index.sense").write_text(SENSES.replace("1 30", "1 300"))
    assert open_thesaurus(wordnet.parent).synonyms("house") == ["accommodate", "home"]


def test_forms_of_regular_words_come_along(wordnet: Path) -> None:
    found = open_thesaurus(wordnet)
    assert found.synonyms("houses") == ["homes", "zodiacs", "accommodates"]
    assert found.synonyms("walked") == ["strolled"]
    assert found.synonyms("walking") == ["strolling"]
    assert found.synonyms("fellows") == []  # of man: in doubt, so none
    assert found.synonyms("mans") == []


def test_phrases_on_demand(wordnet: Path) -> None:
    assert "menage a trois" in open_thesaurus(wordnet, phrases=True).synonyms("house")


@pytest.mark.parametrize(
    ("word", "s", "ed", "ing"),
    [
        ("walk", "walks", "walked", "walking"),
        ("place", "places", "placed", "placing"),
        ("try", "tries", "tried", "trying"),
        ("play", "plays", "played", "playing"),
        ("stop", "stops", "stopped", "stopping"),
        ("need", "needs", "needed", "needing"),
        ("open", "opens", "opened", "opening"),
        ("offer", "offers", "offered", "offering"),
        ("die", None, "died", "dying"),
        ("agree", "agrees", "agreed", "agreeing"),
        ("watch", "watches", "watched", "watching"),
        ("fix", "fixes", "fixed", "fixing"),
        ("visit", "visits", None, None),
        ("prefer", "prefers", None, None),
        ("run", "runs", None, "running"),
        ("think", "thinks", None, "thinking"),
        ("rewrite", "rewrites", None, "rewriting"),
        ("man", None, "manned", "manning"),
        ("potato", None, "potatoed", "potatoing"),
        ("box", "boxes", "boxed", "boxing"),
        ("knife", None, "knifed", "knifing"),
        ("information", None, None, None),
    ],
)
def test_endings(word: str, s: str | None, ed: str | None, ing: str | None) -> None:
    assert ending_s(word) == s
    if word not in ("potato", "information"):  # no verbs
        assert (ending_ed(word), ending_ing(word)) == (ed, ing)


def test_forms_of_irregular_verbs_are_known() -> None:
    assert {"thought", "saw", "left", "done"} <= IRREGULAR_FORMS


def test_mythes_files_are_read_in_their_encoding(tmp_path: Path) -> None:
    text = "ISO8859-1\nbig|2\n(adj)|large|huge (similar term)|small (antonym)\n(adv)|boastfully\n"
    text += "altísimo|1\n-|Dios|jehová\n"
    (tmp_path / "th_es_ES_v2.dat").write_bytes(text.encode("latin-1"))
    found = open_thesaurus(tmp_path)
    assert found.language == "es"
    assert found.synonyms("big") == ["large", "boastfully"]
    assert found.synonyms("big", "r") == ["boastfully"]
    assert found.related("big") == ["huge"]
    assert found.synonyms("altísimo") == ["jehová"]


def test_of_several_mythes_files_one_is_named(tmp_path: Path) -> None:
    for name in ("th_en_US.dat", "th_de_DE.dat"):
        (tmp_path / name).write_text("UTF-8\nbig|1\n-|large\n")
    with pytest.raises(ConfigError, match=r"th_de_DE\.dat, th_en_US\.dat"):
        open_thesaurus(tmp_path)
    assert open_thesaurus(tmp_path / "th_de_DE.dat").language == "de"


@pytest.mark.parametrize("text", ["UTF-8\nbig|3\n-|large\n", "no encoding\nbig|1\n-|x\n", "UTF-8\nbig|many\n-|x\n"])
def test_broken_mythes_files_say_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "th_en.dat").write_text(text)
    with pytest.raises(InputError, match="no MyThes file"):
        open_thesaurus(tmp_path)


def test_json_and_javascript_are_read(tmp_path: Path) -> None:
    table = {"big": ["large", "great big"], "0": ["zero"]}
    (tmp_path / "th_en_words.js").write_text(f"module.exports = {json.dumps(table)};")
    found = open_thesaurus(tmp_path)
    assert (found.synonyms("big"), found.synonyms("0"), found.language) == (["large"], [], "en")


VECTORS = {"hot": (1, 0.1), "warm": (1, 0.2), "heat": (0.9, 0.3), "cat": (0, 1), "cats": (0.01, 1), "dog": (-0.1, 1)}


@pytest.mark.parametrize("form", ["glove", "word2vec", "npz"])
def test_word_vectors_make_a_thesaurus(tmp_path: Path, form: str) -> None:
    lines = [" ".join([word, *map(str, vector)]) for word, vector in VECTORS.items()]
    path = tmp_path / f"vectors.{'npz' if form == 'npz' else 'txt'}"
    if form == "npz":
        np.savez(path, words=np.array(list(VECTORS)), vectors=np.array(list(VECTORS.values())))
    else:
        path.write_text("\n".join([*(["6 2"] if form == "word2vec" else []), *lines]) + "\n")
    found = open_thesaurus(path)
    assert found.synonyms("hot") == ["warm", "heat"]
    assert found.synonyms("cat") == ["cats", "dog"]
    assert "hot" in found.related("cat")
    assert len(read_vectors(path, words=2)[0]) == 2


def test_other_forms_of_a_word_are_no_neighbours(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("house 1 0\nhouses 1 0.01\nbuilding 1 0.2\n")
    assert open_thesaurus(tmp_path / "v.txt").synonyms("house") == ["building"]


def test_what_is_no_thesaurus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such thesaurus"):
        open_thesaurus(tmp_path / "none")
    with pytest.raises(ConfigError, match="no thesaurus"):
        open_thesaurus(tmp_path)
    (tmp_path / "v.txt").write_text("a b c\n")
    with pytest.raises(InputError, match="no word vectors"):
        open_thesaurus(tmp_path / "v.txt")
    (tmp_path / "data.noun").write_text("garbage\n")
    with pytest.raises(InputError, match="no WordNet files"):
        open_thesaurus(tmp_path)


def test_a_compiled_thesaurus_is_the_same(wordnet: Path, tmp_path: Path) -> None:
    first = open_thesaurus(wordnet)
    path = compile_thesaurus(wordnet, tmp_path / "compiled.npz")
    second = open_thesaurus(path)
    for word in ("house", "houses", "huge", "walked", "nothing"):
        assert (first.synonyms(word), first.related(word)) == (second.synonyms(word), second.related(word))
    np.savez(tmp_path / "other.npz", format=np.array("x"), synonym_ends=np.zeros(1))
    with pytest.raises(InputError, match="no lexicon"):
        Lexicon.load(tmp_path / "other.npz")


def test_many_words_are_all_found() -> None:
    entries = [Entry(word=f"word{i}", synonyms=((f"other{i}", 0),)) for i in range(3000)]
    found = make_lexicon(entries, language="")
    assert all(found.synonyms(f"word{i}") == [f"other{i}"] for i in range(3000))
    assert found.synonyms("word3000") == []
