"""The adapter to lm-evaluation-harness: with the library where it is installed, else with a stand-in of its `LM`."""

from __future__ import annotations

import abc
import sys
import types
from dataclasses import dataclass
from typing import Any

import pytest

from lamina.kit.errors import ConfigError, InputError, MissingExtraError
from lamina.model.checkpoint import save_model
from lamina.model.evaluate.bits_per_byte import bits_per_byte
from lamina.model.evaluate.harness import HarnessModel, for_harness, open_for_harness
from lamina.model.evaluate.likelihood import Likelihoods
from lamina.model.generate import greedy
from lamina.model.search import translate

PAIRS = [("the whale", " swims in the sea"), ("", "a ship"), ("call me ", "what"), ("the whale swims " * 40, " sea")]


@dataclass
class Instance:
    args: tuple[Any, ...]


class LM(abc.ABC):
    """What `lm_eval.api.model.LM` asks of a model (0.4.13)."""

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1

    @abc.abstractmethod
    def loglikelihood(self, requests): ...

    @abc.abstractmethod
    def loglikelihood_rolling(self, requests): ...

    @abc.abstractmethod
    def generate_until(self, requests): ...


@pytest.mark.parametrize("variant", ["gpt2", "bert-mlm", "t5"])
def test_likelihoods_are_our_own(opened, variant):
    model, _, tokenizer = opened(variant)
    pairs = PAIRS[:3] if variant == "t5" else PAIRS
    found = HarnessModel(model, tokenizer).loglikelihood([Instance(pair) for pair in pairs])
    wanted = Likelihoods(model, tokenizer, cut=True).continuations(pairs)
    assert found == [(one.value, one.greedy) for one in wanted]


def test_rolling_is_our_bits_per_byte(opened):
    model, _, tokenizer = opened("gpt2")
    texts = ["the whale swims in the sea " * 20, "", "a ship"]
    found = HarnessModel(model, tokenizer).loglikelihood_rolling([Instance((text,)) for text in texts])
    assert found == [-nats for nats, _ in bits_per_byte(model, tokenizer, texts).per_document]
    assert HarnessModel(model, tokenizer).loglikelihood_rolling([Instance(("",))]) == [0.0]
    for variant in ("bert-mlm", "t5"):
        other, _, its = opened(variant)
        with pytest.raises(ConfigError, match="causal"):
            HarnessModel(other, its).loglikelihood_rolling([Instance(("the",))])


class TestGeneration:
    def whole(self, model, tokenizer, context: str, room: int) -> str:
        prompt = [tokenizer.end_ids[0], *tokenizer.encode(context)][-(64 - room) :]
        return tokenizer.decode(greedy(model, prompt, end=tokenizer.end_ids, max_tokens=room))

    def ask(self, opened, context: str, **settings: Any) -> tuple[str, str]:
        model, _, tokenizer = opened("gpt2")
        [found] = HarnessModel(model, tokenizer).generate_until([Instance((context, settings))])
        return found, self.whole(model, tokenizer, context, settings.get("max_gen_toks", 63))

    def test_is_greedy(self, opened):
        found, whole = self.ask(opened, "the whale", max_gen_toks=9, do_sample=False, temperature=0.0)
        assert found == whole
        assert found

    @pytest.mark.parametrize("as_list", [True, False])
    def test_ends_before_the_first_stop(self, opened, as_list):
        _, whole = self.ask(opened, "the whale", max_gen_toks=12)
        stop = whole[5:7]
        found, _ = self.ask(opened, "the whale", max_gen_toks=12, until=[stop, "never"] if as_list else stop)
        assert found == whole[: whole.index(stop)]

    def test_a_long_context_loses_its_beginning(self, opened):
        found, whole = self.ask(opened, "the whale swims " * 40, max_gen_toks=5)
        assert found == whole
        model, _, tokenizer = opened("gpt2")
        for context in ("the whale", "the whale swims " * 40):  # no answer pushes the question out
            [found] = HarnessModel(model, tokenizer).generate_until([Instance((context, {"max_gen_toks": 1000}))])
            given = [tokenizer.end_ids[0], *tokenizer.encode(context)]
            assert found == self.whole(model, tokenizer, context, 32 if len(given) > 64 else 64 - len(given))

    def test_an_encoder_decoder_answers_its_source(self, opened):
        model, _, tokenizer = opened("t5")
        [found] = HarnessModel(model, tokenizer).generate_until([Instance(("the sea", {"max_gen_toks": 4}))])
        ids = translate(model, [[*tokenizer.encode("the sea"), 1]], end=1, max_tokens=4)[0]
        assert found == tokenizer.decode(ids)

    def test_what_it_does_not_do(self, opened):
        model, _, tokenizer = opened("gpt2")
        for settings in ({"do_sample": True}, {"temperature": 0.7}):
            with pytest.raises(InputError, match="greedy"):
                HarnessModel(model, tokenizer).generate_until([Instance(("the", settings))])
        other, _, its = opened("bert-mlm")
        with pytest.raises(ConfigError, match="writes no text"):
            HarnessModel(other, its).generate_until([Instance(("the", {}))])


def test_it_is_the_harness_own_kind(opened, monkeypatch, tmp_path):
    model, _, tokenizer = opened("gpt2")
    monkeypatch.setitem(sys.modules, "lm_eval", types.ModuleType("lm_eval"))
    monkeypatch.setitem(sys.modules, "lm_eval.api", types.ModuleType("lm_eval.api"))
    stand_in = types.ModuleType("lm_eval.api.model")
    stand_in.LM = LM  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", stand_in)
    made = for_harness(model, tokenizer)
    assert isinstance(made, LM)
    assert made._rank == 0
    assert made.loglikelihood([Instance(PAIRS[0])])[0][0] < 0
    save_model(model, tmp_path / "m", like=tokenizer.folder)
    assert isinstance(open_for_harness(tmp_path / "m"), LM)


def test_without_the_harness_it_says_what_to_install(opened, monkeypatch):
    model, _, tokenizer = opened("gpt2")
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(MissingExtraError, match="pip install lm-eval"):
        for_harness(model, tokenizer)
