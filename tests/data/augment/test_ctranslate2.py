"""Translation by the CTranslate2 library itself, with the small models of ``dictionary_models``."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.augment import ctranslate2_models
from lamina.data.augment.back_translation import back_translation
from lamina.data.augment.ctranslate2_models import CTranslate2
from lamina.data.augment.translators import open_translator
from lamina.kit.errors import ConfigError, InputError, ModelFileError
from lamina.kit.workers import WORKER

pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed: pip install 'lamina[translate]'")

_spec = importlib.util.spec_from_file_location("dictionary_models", Path(__file__).with_name("dictionary_models.py"))
assert _spec is not None
assert _spec.loader is not None
_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_models)
SPANISH, write_model, write_pair = _models.SPANISH, _models.write_model, _models.write_pair
write_tokenizer = _models.write_tokenizer

TEXT = (
    "The keeper of the old lighthouse saw the big ship near the quiet harbour. "
    "The ship was old and the harbour was big. The keeper of the harbour was quiet. "
)


def write_pieces(folder: Path, name: str, words: list[str]) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 3),
        model_prefix=str(folder / name),
        model_type="word",
        vocab_size=len(words) + 3,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / f"{name}.model").rename(folder / f"{name}.spm")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models so small are slower on two."""
    monkeypatch.setenv(WORKER, "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_pair(tmp_path_factory.mktemp("models")))


def test_texts_come_back_in_their_order_and_whole(folder: Path) -> None:
    model = CTranslate2(folder)
    assert model.pairs == (("en", "es"), ("es", "en"))
    assert model.translate(["the big ship.", "", "The old harbour", " \n"], "en-GB", "es_ES") == [
        "la grande barco .", "", "La viejo puerto", ""
    ]  # fmt: skip
    texts = [f"{'the ' * (n % 50)}ship" for n in range(400)]  # more than one batch of the library's
    assert model.translate(texts, "en", "es") == [t.replace("the", "la").replace("ship", "barco") for t in texts]
    assert model.translate([], "en", "es") == []
    with pytest.raises(InputError, match=r"no model en-fr \(at hand: en-es, es-en\)"):
        model.translate(["the ship"], "en", "fr")


def test_sampling_follows_the_seed_and_nothing_else(folder: Path) -> None:
    model = CTranslate2(folder, temperature=1.0)
    texts = ["the big old ship near the quiet harbour"] * 12

    def drawn(seed: int) -> list[str]:
        model.reseed(seed)
        return model.translate(texts, "en", "es")

    first = drawn(5)
    assert len(set(first)) > 3, "diverse"
    assert drawn(6) != first
    model.translate(texts, "es", "en")  # what was drawn in between is nothing
    assert drawn(5) == first
    assert CTranslate2(folder, temperature=1.0).translate(texts[:1], "en", "es") != []
    assert drawn(5) == first
    assert drawn((1 << 64) - 1) == drawn((1 << 64) - 1), "the seed that the library takes for none"


def test_draws_have_the_models_probabilities_sharpened_by_the_temperature(folder: Path) -> None:
    for temperature, low, high in ((1.0, 0.62, 0.78), (0.5, 0.78, 0.91), (0.05, 1.0, 1.0)):
        model = CTranslate2(folder, temperature=temperature)
        model.reseed(1)
        said = model.translate(["big"] * 600, "en", "es")
        assert low <= said.count("grande") / len(said) <= high
        assert set(said) <= {"grande", "enorme"}


@pytest.mark.parametrize("ended", [False, True])
def test_pieces_of_sentencepiece_with_one_end_mark(tmp_path: Path, ended: bool) -> None:
    pytest.importorskip("sentencepiece", reason="sentencepiece is not installed: pip install 'lamina[translate]'")
    table = {f"▁{a}": {f"▁{b}": p for b, p in said.items()} for a, said in SPANISH.items()}
    # Four places: three words and one end mark. A second one would have none.
    words = write_model(tmp_path / "en-es", table, places=4, add_source_eos=ended)
    for name in ("source", "target"):
        write_pieces(tmp_path / "en-es", name, [word[1:] for word in words if word.startswith("▁")])
    model = CTranslate2(tmp_path)
    assert model.translate(["the big ship", "old harbour"], "en", "es") == ["la grande barco", "viejo puerto"]


def test_what_cannot_be_translated_whole_is_not_translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2_models, "_LONGEST", 20)
    monkeypatch.setattr(ctranslate2_models, "_MOST", 40)
    endless = {**SPANISH, "</s>": {"la": 1.0}}
    for pair, table, places in (("en-es", SPANISH, 48), ("en-fr", SPANISH, 8), ("en-de", endless, 48)):
        write_tokenizer(tmp_path / pair, write_model(tmp_path / pair, table, places=places))
    model = CTranslate2(tmp_path)
    ships, too_long = "ship " * 19, "ship " * 20
    assert model.translate([ships, too_long, "ship"], "en", "es") == [("barco " * 19).strip(), "", "barco"]
    assert model.translate(["ship", ships, "ship ship"], "en", "fr") == ["barco", "", "barco barco"], "no such place"
    assert model.translate(["the ship"], "en", "de") == [""], "it never ends"
    assert model.translate(["the zebra", "the ship"], "en", "es") == ["", "la barco"], "a word that it does not have"


def batch(*texts: str) -> pa.RecordBatch:
    names = [f"{number}-{len(text)}" for number, text in enumerate(texts)]
    return pa.RecordBatch.from_pydict({"id": names, "text": list(texts), "language": ["en"] * len(texts)})


def test_back_translation_gives_different_children_that_depend_on_their_parent_alone(folder: Path) -> None:
    options: dict[str, Any] = {"translator": f"ctranslate2:{folder}", "copies": 3, "temperature": 1.0, "seed": 3}
    both = back_translation(batch(TEXT, TEXT * 2), **options).to_pylist()
    own = [child["text"] for child in both if child["parent"] == 0]
    assert len(own) == 3
    assert len(set(own)) == 3
    for child in both:
        assert child["text"].count(".") == (TEXT if child["parent"] == 0 else TEXT * 2).count(".")
        assert " ." not in child["text"]
        detail = json.loads(child["detail"])
        assert detail["pivot"] == "es"
        assert detail["edits"]
    alone = back_translation(batch(TEXT), **options).to_pylist()
    assert [child["text"] for child in alone] == own
    other = back_translation(batch(TEXT), **{**options, "seed": 4}).to_pylist()
    assert [child["text"] for child in other] != own


def test_without_a_temperature_all_copies_are_the_same(folder: Path) -> None:
    made = back_translation(batch(TEXT), translator=f"ctranslate2:{folder}", copies=2, temperature=0.0).to_pylist()
    assert len({child["text"] for child in made}) == 1
    assert "large" not in made[0]["text"]


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (lambda f: (f / "model.bin").write_bytes(b"nothing"), ModelFileError, "cannot read the model"),
        (lambda f: (f / "config.json").write_text("[1"), ModelFileError, "is no JSON object"),
        (lambda f: (f / "tokenizer.json").unlink(), ConfigError, r"neither tokenizer\.json nor source\.spm"),
        (lambda f: (f / "model.bin").unlink(), ConfigError, "no model"),
    ],
)  # fmt: skip
def test_a_damaged_model_is_named(tmp_path: Path, damage: Callable[[Path], Any], kind: type, said: str) -> None:
    place = tmp_path / "en-es"
    write_tokenizer(place, write_model(place, SPANISH))
    damage(place)
    with pytest.raises(kind, match=said) as error:
        open_translator(f"ctranslate2:{tmp_path}").translate(["the ship"], "en", "es")
    assert str(tmp_path) in str(error.value)
