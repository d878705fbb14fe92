from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest

from lamina.kit.errors import ConfigError, InputError, StageError
from lamina.kit.progress import open_progress
from lamina.model.vectors import word2vec_kernels as kernels
from lamina.model.vectors.ngrams import Grams
from lamina.model.vectors.vocabulary import Corpus, read_ids, read_sentences
from lamina.model.vectors.word2vec import Word2VecParameters, _Run, train_word2vec

SMALL = Word2VecParameters(width=20, window=3, epochs=2, threads=1, sample=1e-1, seed=5)
KINDS = [
    {"algorithm": algorithm, "output": output, "subwords": subwords}
    for algorithm in ("skip-gram", "cbow")
    for output in ("negative", "hierarchical")
    for subwords in (None, Grams(shortest=2, longest=3, buckets=50))
]


@pytest.fixture(scope="module")
def little() -> tuple[Any, Corpus]:
    random = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "eta", "theta", "iota", "kappa", "pi", "rho", "tau"]
    share = 1 / np.arange(1, 12)
    sentences = [random.choice(words, n, p=share / share.sum()).tolist() for n in [*range(30), 1, 0, 40]]
    return read_sentences(sentences, min_count=1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k['algorithm']}-{k['output']}-{bool(k['subwords'])}")
def test_the_kernels_compute_what_plain_numpy_does(little: Any, plain_word2vec: Any, kind: dict[str, Any]) -> None:
    vocabulary, corpus = little
    run = _Run(vocabulary, corpus, dataclasses.replace(SMALL, **kind))
    run.outputs[:, :20] = np.random.default_rng(1).normal(0, 0.3, run.outputs[:, :20].shape)
    run.inputs[:, :20] *= 20
    inputs, outputs = run.inputs.astype(np.float64), run.outputs.astype(np.float64)
    desk, pieces = run.desks[0], corpus.pieces()
    seed = int(desk.random[0])
    before = run.inputs.copy()
    kernels.learn_pieces(corpus.tokens, pieces, 0, len(pieces) - 1, np.float32(0.05), run.weights[0], run.task, desk)
    loss, pairs = plain_word2vec.learn(corpus.tokens, pieces, 0.05, inputs, outputs, run.task, seed)
    assert pairs == desk.tally[1] > 100
    assert desk.tally[0] == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(run.inputs, inputs, atol=2e-5)
    np.testing.assert_allclose(run.outputs, outputs, atol=2e-5)
    assert np.abs(run.inputs - before).max() > 0.01
    assert not run.inputs[:, 20:].any(), "the padding stays zero"


def test_the_loss_goes_on_past_where_float32_sticks(little: Any) -> None:
    """gensim's tally stops at 2^27 (gensim issue 2735)."""
    vocabulary, corpus = little
    run, pieces = _Run(vocabulary, corpus, SMALL), corpus.pieces()
    arguments = (corpus.tokens, pieces, 0, len(pieces) - 1, np.float32(0.0), run.weights[0], run.task, run.desks[0])
    state = run.desks[0].random.copy()
    kernels.learn_pieces(*arguments)
    loss = run.desks[0].tally[0]
    run.desks[0].random[:] = state
    run.desks[0].tally[0] = 2.0**34
    kernels.learn_pieces(*arguments)
    assert run.desks[0].tally[0] - 2.0**34 == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_seed_and_threads_give_the_same_bytes(planted: Any, threads: int) -> None:
    parameters = Word2VecParameters(width=24, epochs=2, threads=threads, reproducible=True, seed=3)
    first, second = (train_word2vec(*planted, parameters=parameters) for _ in range(2))
    assert first.vectors.vectors.tobytes() == second.vectors.vectors.tobytes()
    assert first.losses == second.losses
    other = train_word2vec(*planted, parameters=dataclasses.replace(parameters, seed=4))
    assert other.vectors.vectors.tobytes() != first.vectors.vectors.tobytes()


@pytest.mark.parametrize("reproducible", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_finds_what_was_planted(planted: Any, questions: Any, threads: int, reproducible: bool) -> None:
    parameters = Word2VecParameters(width=32, epochs=8, threads=threads, reproducible=reproducible, sample=None)
    trained = train_word2vec(*planted, parameters=parameters)
    assert trained.losses[-1] < trained.losses[0] < np.log(2) * 6
    right = [trained.vectors.analogy(a, b, c)[0][0] == d for a, b, c, d in questions]
    assert np.mean(right) > 0.8


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda k: f"{k['algorithm']}-{k['output']}-{bool(k['subwords'])}")
def test_every_kind_learns_which_words_stand_together(planted: Any, kind: dict[str, Any]) -> None:
    parameters = Word2VecParameters(width=32, epochs=6, threads=1, learning_rate=0.05, **kind)
    trained = train_word2vec(*planted, parameters=parameters)
    assert trained.losses[-1] < trained.losses[0]
    near = trained.vectors.most_similar("peru-0", topn=5)
    assert sum("peru" in word for word, _ in near) >= 4, near


def test_subwords_give_vectors_to_words_never_seen(planted: Any) -> None:
    parameters = Word2VecParameters(width=32, epochs=4, threads=1, subwords=Grams(buckets=5000))
    vectors = train_word2vec(*planted, parameters=parameters).vectors
    assert "peru-99" not in vectors
    near = vectors.similar_by_vector(vectors["peru-99"], topn=5)
    assert sum("peru" in word for word, _ in near) >= 4, near


def test_token_ids_give_the_vectors_of_their_words(little: Any) -> None:
    vocabulary, corpus = little
    pieces = sorted(vocabulary.words)
    ids = np.array([pieces.index(vocabulary.words[t]) for t in corpus.tokens])
    by_words, by_ids = (
        train_word2vec(v, c, parameters=dataclasses.replace(SMALL, threads=1)).vectors
        for v, c in (little, read_ids(ids, corpus.ends, pieces=pieces))
    )
    for word in pieces:
        if np.count_nonzero(vocabulary.counts == vocabulary.counts[vocabulary.index[word]]) > 1:
            return  # equal counts may rank otherwise, and then draw other numbers
        np.testing.assert_array_equal(by_words[word], by_ids[word])


def test_progress_and_losses_are_told(little: Any) -> None:
    stream = io.StringIO()
    trained = train_word2vec(*little, parameters=SMALL, progress=open_progress("json", stream=stream))
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert last["done"] == last["total"] == 2 * len(little[1])
    assert last["facts"]["loss_nats"] == pytest.approx(trained.losses[-1])


def test_what_cannot_be_learned_from_says_so(little: Any) -> None:
    with pytest.raises(InputError, match="no word has a neighbour"):
        train_word2vec(*read_sentences([["a"], ["b"]], min_count=1))
    with pytest.raises(InputError, match="subsampling left"):
        train_word2vec(*little, parameters=dataclasses.replace(SMALL, sample=1e-12))
    with pytest.raises(StageError, match=r"epoch 1.*no longer finite.*lower learning_rate"):
        train_word2vec(*little, parameters=dataclasses.replace(SMALL, learning_rate=1e30))


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"sample": 0.0}, {"negatives": -1}, {"algorithm": "glove"}, {"final_rate": 1.0}, {"threads": 0}],
)
def test_parameters_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"word2vec.{next(iter(wrong))}"):
        Word2VecParameters(**wrong)
