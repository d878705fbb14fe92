"""Translation by the CTranslate2 library itself, with models small enough to be written down.

Each model is a dictionary in the form of a Transformer: its decoder looks, at every place, at the word that stands in
the same place of the source, and says one of its translations with the probability that the dictionary gives it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lamina.data.augment import ctranslate2_models
from lamina.data.augment.back_translation import back_translation
from lamina.data.augment.ctranslate2_models import CTranslate2
from lamina.data.augment.translators import open_translator
from lamina.kit.errors import ConfigError, InputError, ModelFileError
from lamina.kit.workers import WORKER

pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed: pip install 'lamina[translate]'")

Table = Mapping[str, Mapping[str, float]]
SPECIAL = ("<unk>", "<s>", "</s>")
ONE = ("the la", "The La", "keeper guardián", "of de", "saw vio", "near cerca", "from desde", "was era", "and y")
SPANISH: Table = {
    **{a: {b: 1.0} for a, b in (pair.split() for pair in (*ONE, ". ."))},
    "big": {"grande": 0.7, "enorme": 0.3},
    "ship": {"barco": 0.6, "buque": 0.4},
    "old": {"viejo": 0.6, "antiguo": 0.4},
    "harbour": {"puerto": 1.0},
    "lighthouse": {"faro": 1.0},
    "quiet": {"tranquilo": 0.5, "callado": 0.5},
}
ENGLISH: Table = {
    **{b: {a: 1.0} for a, b in (pair.split() for pair in (*ONE, ". ."))},
    **{"grande": {"big": 0.5, "large": 0.5}, "enorme": {"huge": 1.0}, "faro": {"lighthouse": 1.0}},
    **{"barco": {"ship": 0.5, "boat": 0.5}, "buque": {"vessel": 1.0}, "puerto": {"harbour": 0.4, "port": 0.6}},
    **{"viejo": {"old": 0.6, "aged": 0.4}, "antiguo": {"ancient": 1.0}},
    **{"tranquilo": {"quiet": 0.5, "calm": 0.5}, "callado": {"silent": 1.0}},
}
TEXT = (
    "The keeper of the old lighthouse saw the big ship near the quiet harbour. "
    "The ship was old and the harbour was big. The keeper of the harbour was quiet. "
)


def write_model(folder: Path, table: Table, *, places: int = 64, **config: Any) -> list[str]:
    """A model of CTranslate2; the words of its source."""
    from ctranslate2.specs import TransformerSpec

    sources = [*SPECIAL, *table]
    targets = [*SPECIAL, *dict.fromkeys(word for said in table.values() for word in said if word not in SPECIAL)]
    # What stands in a vector: the word, then its place, then the logarithm of what may be said.
    place, said = max(len(sources), len(targets)), max(len(sources), len(targets)) + places
    width = said + len(targets)
    spec = TransformerSpec.from_config((1, 1), 1, no_final_norm=True)
    where = np.zeros((places, width), np.float32)
    where[range(places), range(place, said)] = 1
    for side, embeddings, count in (
        (spec.encoder, spec.encoder.embeddings[0], len(sources)),
        (spec.decoder, spec.decoder.embeddings, len(targets)),
    ):
        embeddings.weight = np.eye(count, width, dtype=np.float32)
        side.scale_embeddings = False
        side.position_encodings.encodings = where
        layer = side.layer[0]
        for part, shapes in ((layer.self_attention, (3 * width, width)), (layer.ffn, (8, 8))):
            norm(part.layer_norm, width)
            first, second = part.linear if part is layer.self_attention else (part.linear_0, part.linear_1)
            linear(first, np.zeros((shapes[0], width)))
            linear(second, np.zeros((width, shapes[1])))
    here = np.zeros((width, width))
    here[range(place, said), range(place, said)] = 1
    word = np.diag(np.arange(width) < len(sources)).astype(float)
    spoken = np.zeros((width, width))
    spoken[said:, : len(sources)] = -50
    for number, source in enumerate(sources):
        for target, probability in table.get(source, {source: 1.0}).items():
            spoken[said + targets.index(target), number] = math.log(probability)
    look = spec.decoder.layer[0].attention
    norm(look.layer_norm, width)
    for part, weight in zip(look.linear, (400 * here, np.vstack([here, word]), spoken), strict=True):
        linear(part, weight)
    linear(spec.decoder.projection, np.eye(width)[said:])
    spec.register_source_vocabulary(sources)
    spec.register_target_vocabulary(targets)
    for name, value in config.items():
        setattr(spec.config, name, value)
    spec.validate()
    folder.mkdir(parents=True)
    spec.save(str(folder))
    return [*dict.fromkeys([*sources, *targets])]


def linear(part: Any, weight: np.ndarray) -> None:
    part.weight, part.bias = weight.astype(np.float32), np.zeros(len(weight), np.float32)


def norm(part: Any, width: int) -> None:
    part.gamma, part.beta = np.ones(width, np.float32), np.zeros(width, np.float32)


def write_tokenizer(folder: Path, words: list[str]) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))


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
    place = tmp_path_factory.mktemp("models")
    for pair, table in (("en-es", SPANISH), ("es-en", ENGLISH)):
        write_tokenizer(place / pair, write_model(place / pair, table))
    return place


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
