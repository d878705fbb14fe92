"""Back translation by the encoder-decoder of another stack, trained on pairs, from the stack files to the corpus."""

from __future__ import annotations

import importlib
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lamina.data.augment.choose import Candidate, choose_translator
from lamina.data.augment.translators import OwnModels
from lamina.kit.durable import publish
from lamina.kit.errors import InputError, NotFoundError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.plan import Plan
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
DOCUMENTS = """name = "notes"
[data]
workers = 1
held_out = 0.25
steps = []
[data.augmentation]
max_share = 0.6
[[data.sources]]
use = "files"
from = "notes.jsonl"
language = "en"
[[data.augment]]
use = "back_translation"
translator = ["own"]
stacks = ["%s"]
temperature = 0.3
"""
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
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack file of a translator that is trained and registered; its stages run in this process."""

    def run(self: Workshop, stage: Stage, folder: Path, work: Path, held: int) -> None:
        module, name = stage.function.split(":")
        parameters = json.loads(json.dumps({**stage.parameters, "context": stage.context}))
        with publish(folder) as staging:
            function = getattr(importlib.import_module(module), name)
            function(staging, work, parameters, dict(stage.inputs), self._progress)

    place = tmp_path_factory.mktemp("words")
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs()))
    (place / "lamina.toml").write_text(TRANSLATOR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workshop, "_run_child", run)
        bring_up(place / "lamina.toml", [], places=[], serve=False, json=False)
    return place / "lamina.toml"


def documents(folder: Path, translator: Path) -> Stack:
    english = [row["en"][0].upper() + row["en"][1:] for row in pairs()]
    rows = [{"text": " ".join(english[n::13][:4])} for n in range(13)]
    (folder / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "lamina.toml").write_text(DOCUMENTS % translator)
    return open_stack(folder / "lamina.toml")


def test_it_translates_both_ways_and_its_held_out_rows_measure_it(translator: Path, tmp_path: Path) -> None:
    stack = documents(tmp_path, translator)
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


def key(stack: Stack) -> str:
    progress = open_progress("quiet")
    workshop = Workshop(stack.state, progress)
    return workshop.key(Plan(stack, workshop, progress).corpus)


def test_a_stack_without_a_translator_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "lamina.toml").write_text(TRANSLATOR)
    with pytest.raises(NotFoundError, match="no encoder-decoder answers in this stack yet"):
        key(documents(tmp_path, other / "lamina.toml"))


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
