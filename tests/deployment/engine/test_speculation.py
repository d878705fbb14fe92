"""Guessing changes how fast an answer comes, never what it says."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from lamina.contracts.inference import Chunk, Constraint, SamplingParams
from lamina.deployment.compress.quantize import quantize
from lamina.deployment.engine import speculation
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.ngrams import Ngrams, write_ngrams
from lamina.deployment.engine.speculation import Guesser, Lookup, Recall, Speculation
from lamina.kit.errors import LaminaError

LEARN = Guesser.learn
CHANT = [5, 9, 60, 7, 7, 41] * 5
ODD = [5, 3, 60, 7, 7, 41, 0, 12, 80, 33, 2, 19, 54, 5, 3, 60]


@pytest.fixture
def answer(tiny_model, tiny_tokenizer, monkeypatch):
    """``answer(prompt, …)``: the tokens, and (guessed, right) of each step that checked guesses of the kind ``of``."""

    def run(prompt, *, guess: int, family="llama", kernels="torch", int8=False, ngrams=None, of=Guesser, **sampling):
        seen: list[tuple[int, int]] = []

        def learn(self: Guesser, *told: int) -> None:
            if isinstance(self, of):
                seen.append(told)
            LEARN(self, *told)

        monkeypatch.setattr(Guesser, "learn", learn)
        monkeypatch.setattr(Speculation, "length", lambda *_: guess)
        model = quantize(tiny_model(family)) if int8 else tiny_model(family)
        engine = Engine(model, tiny_tokenizer, version="v1", kernels=kernels, block_tokens=4, ngrams=ngrams)
        items: list[Chunk | LaminaError] = []
        done = threading.Event()

        def take(item: Chunk | LaminaError) -> None:
            items.append(item)
            if isinstance(item, LaminaError) or item.finish_reason:
                done.set()

        try:
            engine.submit("a", prompt, SamplingParams(**{"max_tokens": 30} | sampling), take)
            assert done.wait(60)
            assert engine._blocks.free == engine._blocks.total
        finally:
            engine.close()
        assert isinstance(items[-1], Chunk), items[-1]
        return [t for c in items for t in c.tokens], items[-1], seen

    return run


WAYS = [("llama", "torch", False), ("gpt2", "torch", False), ("llama", "torch", True), ("llama", "compiled", True),
        ("llama", "native", True)]  # fmt: skip
ASKED = [
    {"temperature": 0.0},
    {"temperature": 0.9, "seed": 3, "top_p": 0.95, "logit_bias": ((9, 100.0), (41, 100.0))},
    {"temperature": 0.0, "logit_bias": ((41, 8.0),), "repetition_penalty": 1.2, "logprobs": 2},
]


@pytest.mark.parametrize(("family", "kernels", "int8"), WAYS)
def test_answers_are_the_same_with_and_without_guesses(answer, family, kernels, int8) -> None:
    right = wrong = 0
    for prompt in (CHANT, ODD):
        for asked in ASKED:
            way = {"family": family, "kernels": kernels, "int8": int8} | asked
            plain, last, none = answer(prompt, guess=0, **way)
            guessed, same, seen = answer(prompt, guess=4, **way)
            assert guessed == plain
            assert same.usage == last.usage
            assert same.finish_reason == last.finish_reason
            assert none == []
            right += sum(good for _, good in seen)
            wrong += sum(count - good for count, good in seen)
    assert wrong > 0
    assert right > 0, "no guess was right: nothing was tried"


def counted(folder, *documents: list[int]) -> Ngrams:
    """What follows what in ``documents``, each of them seen twice."""
    twice = [*documents, *documents]
    stream, ends = np.concatenate(twice).astype(np.uint16), np.cumsum([len(one) for one in twice])
    write_ngrams(folder, stream, ends, tokenizer="t", vocabulary=200)
    return Ngrams(folder)


@pytest.mark.parametrize(("family", "kernels", "int8"), WAYS)
def test_answers_are_the_same_with_and_without_the_documents(answer, tmp_path, family, kernels, int8) -> None:
    right = wrong = 0
    for asked in ASKED:
        way = {"family": family, "kernels": kernels, "int8": int8, "of": Recall} | asked
        plain, last, _ = answer(ODD, guess=0, **way)
        # A document that says the same at first, and others that mislead.
        known = counted(tmp_path, [*ODD[-3:], *plain[:12]], [*plain[10:18], 5, 6, 7, 8], [*ODD[-1:], 4, 4, 4])
        guessed, same, seen = answer(ODD, guess=4, ngrams=known, **way)
        assert guessed == plain
        assert (same.usage, same.finish_reason) == (last.usage, last.finish_reason)
        right += sum(good for _, good in seen)
        wrong += sum(count - good for count, good in seen)
    assert wrong > 0
    assert right > 0, "no guess was right: nothing was tried"


def test_the_documents_are_asked_where_the_request_says_nothing(answer, tmp_path) -> None:
    heavy = {"temperature": 0.0, "logit_bias": ((9, 100.0),), "max_tokens": 9}
    known = counted(tmp_path, [*ODD[-3:], 9, 9, 9, 9, 9])
    tokens, _, seen = answer(ODD, guess=4, ngrams=known, of=Recall, **heavy)
    assert tokens == [9] * 9
    assert seen[0] == (4, 4), "from the prompt's last three tokens on"
    assert answer(ODD, guess=4, of=Recall, **heavy)[2] == []


def test_what_the_documents_say_goes_on_as_far_as_they_know(tmp_path) -> None:
    known = counted(tmp_path, [1, 2, 3, 4, 5])
    assert Recall([0, 1, 2], known).guess(7) == [3, 4], "of three tokens two: what was timed"
    assert Recall([0, 2, 3, 4], known).guess(7) == [5]
    assert Recall([0, 1, 2], known).guess(2) == [3, 4]
    assert Recall([3, 9], known).guess(4) == []
    assert Recall([], known).guess(4) == []
    costs, tokens = Speculation(), [1, 2]
    costs.plain(0.010)
    for count in Recall.lengths:
        costs.checked(count, 0.012)
    recalled = Recall(tokens, known)
    assert costs.length(recalled)
    while costs.length(recalled):
        recalled.learn(4, 0)
    recalled.rest()
    assert recalled.guess(2) == []
    tokens += [1, 2] * 20
    assert recalled.guess(2) == [3, 4], "it tries again"


def test_steps_are_saved_where_an_answer_repeats(answer) -> None:
    tokens, last, seen = answer(CHANT, guess=7, temperature=0.0, logit_bias=((9, 100.0),))
    assert tokens == [9] * 30
    assert last.usage.completion_tokens == 30
    assert len(seen) <= 6
    assert sum(good for _, good in seen[1:]) >= 14


def test_an_end_among_the_guesses_ends_the_answer(answer) -> None:
    for limit in (1, 2, 5, 9):
        tokens, last, _ = answer(CHANT, guess=7, temperature=0.0, logit_bias=((9, 100.0),), max_tokens=limit)
        assert tokens == [9] * limit
        assert last.finish_reason == "length"
    stop = answer(CHANT, guess=7, temperature=0.0, logit_bias=((9, 100.0),), stop=("jjjjjj",))[1]
    assert stop.finish_reason == "stop"


def test_guesses_are_what_followed_before() -> None:
    tokens = [1, 2, 3, 4, 5, 1, 2, 3]
    lookup = Lookup(tokens)
    assert lookup.guess(2) == [4, 5]
    assert lookup.guess(9) == [4, 5, 1, 2, 3, 4, 5, 1, 2]
    tokens += [9, 9]
    assert lookup.guess(3) == []
    tokens += [1, 2, 3]
    assert lookup.guess(2) == [9, 9], "the latest place counts"
    assert Lookup([1, 2]).guess(3) == []
    assert Lookup([]).guess(3) == []


def test_guessing_goes_on_only_while_it_pays() -> None:
    costs, tokens = Speculation(), [1, 2, 3] * 4
    lookup = Lookup(tokens)
    assert costs.length(lookup) == 0, "nothing was measured yet"
    costs.plain(0.010)
    for count in (2, 4, 7):
        costs.checked(count, 0.012)
    assert costs.length(lookup) == 7
    for _ in range(40):
        lookup.learn(7, 0)
    assert costs.length(lookup) == 0
    lookup.rest()
    assert lookup.guess(3) == []
    tokens += [1, 2, 3] * 11
    assert lookup.guess(3) == [1, 2, 3], "it tries again"
    dear = Speculation()
    dear.plain(0.010)
    for count in (2, 4, 7):
        dear.checked(count, 0.010 * (count + 1))
    assert dear.length(Lookup(tokens)) == 0
    for _ in range(60):
        lookup.learn(4, 4)
    assert lookup.share > 0.95
    assert dear.length(lookup) == 0, "as dear as single steps: never"
    assert speculation._LENGTHS[-1] < 8, "the compiled step takes up to eight rows"


def test_a_form_holds_among_guesses(answer, tiny_tokenizer, monkeypatch) -> None:
    pieces = [text.encode() for text in (tiny_tokenizer.decode([n]) for n in range(tiny_tokenizer.vocabulary))]
    monkeypatch.setattr(type(tiny_tokenizer), "pieces", pieces, raising=False)
    form = Constraint("regex", "(abc){9} z")
    plain, *_ = answer(CHANT, guess=0, temperature=1.0, seed=4, constraint=form)
    guessed, last, seen = answer(CHANT, guess=4, temperature=1.0, seed=4, constraint=form)
    assert guessed == plain
    assert tiny_tokenizer.decode(plain) == "abc" * 9 + " z"
    assert last.finish_reason == "stop"
    assert seen
