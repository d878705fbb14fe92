"""Back translation by the encoder-decoder of another stack, trained on pairs, from the stack files to the corpus."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lamina.data.augment.choose import Candidate, choose_translator
from lamina.data.augment.translators import OwnModels
from lamina.kit.errors import InputError, NotFoundError
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.translating import _held_out, own_translators, translating
from lamina.recipes.up import bring_up, build_data

TRANSLATOR = """name = "words"
[data.tokenizer]
use = "unigram"
vocabulary = 500
[model]
architecture = "seq2seq"
preset = "seq2seq-nano"
[model.train]
objective = "translation"
method = "full"
steps = 140
batch = 8
length = 32
learning_rate = 3e-3
[model.train.rows]
from = "rows.jsonl"
held_out = 0.2
languages = ["en", "es"]
both_ways = true
"""
OWN = 'translator = ["own"]\nstacks = ["%s"]\ntemperature = 0.3'
SPANISH = {"big": "grande", "old": "vieja", "red": "roja", "ship": "nave", "whale": "ballena", "house": "casa"}
PLACES = {"sea": "mar", "bay": "rada", "lake": "lago"}


def pairs() -> list[dict[str, str]]:
    """Two English words for one Spanish: what comes back is often another than what went."""
    return [
        {"en": f"the {a} {n} {v} in the {p}.", "es": f"la {SPANISH[n]} {SPANISH[a]} estaba en {q}."}
        for a, n, v, (p, q) in itertools.product(
            ("big", "old", "red"), ("ship", "whale", "house"), ("was", "stood"), PLACES.items()
        )
    ]


@pytest.fixture(scope="module")
def translator(in_this_process: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack file of a translator that is trained and registered; its stages run in this process."""
    place = tmp_path_factory.mktemp("words")
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs()))
    (place / "lamina.toml").write_text(TRANSLATOR)
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        bring_up(place / "lamina.toml", [], places=[], serve=False, json=False)
    return place / "lamina.toml"


@pytest.fixture
def documents(tmp_path: Path, back_translation: Callable[[Path, str], Stack]) -> Callable[[Path], Stack]:
    """``documents(translator)``: notes that the stack of that file translates."""
    english = [row["en"][0].upper() + row["en"][1:] for row in pairs()]
    rows = [{"text": " ".join(english[n::13][:4])} for n in range(13)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lambda translator: back_translation(tmp_path, OWN % translator)


def test_it_translates_both_ways_and_its_held_out_rows_measure_it(
    translator: Path, documents: Callable[[Path], Stack], tmp_path: Path
) -> None:
    stack = documents(translator)
    tables: Any = stack.data.augment if stack.data else ()
    (model,) = own_translators(stack, tables)
    assert model.name == "words"
    held = [json.loads(line) for line in Path(str(model.pairs)).read_text().splitlines()]
    assert held
    assert all(row in pairs() for row in held), "without what stands before them in training"
    report = build_data(stack, json=True)["augmentation"]
    (row,) = report["translators"]
    assert row["translator"] == "own", row["reasons"]
    assert f"on {len(held)} held-out pairs" in row["reasons"][0]
    assert report["children"] > 0
    words = json.dumps(report)
    assert str(tmp_path) not in words
    assert "127.0.0.1" not in words
    with translating([model.folder]):
        own = OwnModels()
        onward, back = own.translate(["the old whale was in the sea."] * 2, "en-GB", "es")
        assert onward == back != "the old whale was in the sea."
        assert own.translate(["the " * 900], "en", "es") == ["the " * 900], "what is too long stays"
        with pytest.raises(InputError, match=r"no model translates from en to de .*known: en to es, es to en"):
            own.translate(["x"], "en", "de")
        english = [row["en"] for row in pairs()]
        wrong = [(text, "zzz qqq xxx") for text in english[:5]]
        candidates = [Candidate(name="own", translator=own, own=True)]
        refused = choose_translator(candidates, source="en", pivot="es", samples=english, parallel=wrong)
        assert refused.name is None
        assert "own: not taken: chrF" in refused.reasons[0]
        assert "at least 40 is needed" in refused.reasons[0]
    assert "LAMINA_TRANSLATOR" not in os.environ


def test_a_stack_without_a_translator_is_named(
    tmp_path: Path, documents: Callable[[Path], Stack], corpus_key: Callable[[Stack], str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "lamina.toml").write_text(TRANSLATOR)
    with pytest.raises(NotFoundError, match="no encoder-decoder answers in this stack yet"):
        corpus_key(documents(other / "lamina.toml"))


def test_what_another_has_learned_measures_nothing(tmp_path: Path) -> None:
    def stack(name: str, languages: tuple[str, str], learned: list[str], held: list[str]) -> Stack:
        state = tmp_path / name / ".lamina"
        (state / "stages").mkdir(parents=True)
        (state / "rows" / name).mkdir(parents=True)
        (state / "stages" / "rows.json").write_text(json.dumps({"key": name}))
        (state / "rows" / name / "facts.json").write_text(json.dumps({"languages": languages}))
        for file, words in (("train", learned), ("held_out", held)):
            texts = [{"en": word, "es": word.upper()} for word in words]
            columns = [{"source": t[languages[0]], "target": t[languages[1]]} for t in texts]
            parquet.write_table(pa.Table.from_pylist(columns), state / "rows" / name / f"{file}.parquet")
        (tmp_path / name / "lamina.toml").write_text(TRANSLATOR)
        return open_stack(tmp_path / name / "lamina.toml")

    onward = stack("onward", ("en", "es"), ["sea", "bay"], ["lake", "ship"])
    back = stack("back", ("es", "en"), ["lake", "bay"], ["sea", "ship", "oar"])
    file = _held_out(onward, [onward, back])
    assert file is not None
    found = [json.loads(line) for line in Path(file).read_text().splitlines()]
    assert found == [{"en": "ship", "es": "SHIP"}, {"en": "oar", "es": "OAR"}]
    assert _held_out(onward, [stack("none", ("en", "es"), ["ship"], [])]) is None
