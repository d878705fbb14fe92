"""A planted language: words of one topic stand together, and royal words shift the two sexes alike."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lamina.model.vectors.vocabulary import Corpus, Vocabulary, read_sentences

#: Each thing has a kind and a place; it stands among the words of both.
KINDS = ("capital", "river", "food", "king")
PLACES = ("france", "spain", "norway", "japan", "peru", "egypt")


@pytest.fixture(scope="session")
def planted() -> tuple[Vocabulary, Corpus]:
    """Sentences about things such as `capital-of-peru`, among words of their kind and words of their place."""
    random = np.random.default_rng(7)
    sentences = []
    for _ in range(9000):
        kind, place = random.choice(KINDS), random.choice(PLACES)
        about = [f"{kind}-{random.integers(8)}" for _ in range(3)] + [f"{place}-{random.integers(8)}" for _ in range(3)]
        filler = [f"filler-{random.integers(40)}" for _ in range(2)]
        sentence = [f"{kind}-of-{place}", *about, *filler]
        sentences.append([sentence[i] for i in random.permutation(len(sentence))])
    return read_sentences(sentences, min_count=1)


@pytest.fixture(scope="session")
def questions() -> list[tuple[str, str, str, str]]:
    """What is to `capital-of-spain` as `capital-of-peru` is to `food-of-peru`, for all kinds and places."""
    return [
        (f"{k}-of-{p}", f"{m}-of-{p}", f"{k}-of-{q}", f"{m}-of-{q}")
        for k in KINDS
        for m in KINDS
        for p in PLACES
        for q in PLACES
        if k != m and p != q
    ]


@pytest.fixture(scope="session")
def plain_word2vec() -> ModuleType:
    """Word2Vec in plain numpy."""
    spec = importlib.util.spec_from_file_location("plain_word2vec", Path(__file__).with_name("plain_word2vec.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
