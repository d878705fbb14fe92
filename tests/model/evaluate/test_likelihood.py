"""Log-likelihoods of continuations against `transformers`, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lamina.kit.errors import ConfigError, InputError, TooLargeError
from lamina.model.evaluate import likelihood, masked
from lamina.model.evaluate.likelihood import Likelihoods, kind_of, opening

PAIRS = [
    ("the whale", " swims in the sea"),
    ("the whale ", "swims in the sea"),  # the space belongs to the continuation
    ("call me", " what"),
    ("", "a ship sails"),
    ("the se", "a is deep"),  # a token would span the border
    ("the old man of the ship said", " call me what you like"),
]


def sums(logits: torch.Tensor, said: list[int]) -> tuple[float, bool]:
    """Σ ln p and greediness of ``said`` at the last places of ``logits`` (T, V), shifted already."""
    logp = logits[-len(said) :].log_softmax(-1)
    return float(logp[range(len(said)), said].sum()), logp.argmax(-1).tolist() == said


def by_hand(tokenizer: Any, context: str, said: str) -> tuple[list[int], list[int]]:
    bare = context.rstrip()
    said = context[len(bare) :] + said
    both, given = tokenizer.encode(bare + said), tokenizer.encode(bare)
    if both[: len(given)] == given:
        return given, both[len(given) :]
    return given, tokenizer.encode_batch([said], further=True)[0]


@torch.no_grad()
@pytest.mark.parametrize("variant", ["gpt2", "llama-tied"])
def test_causal_equals_transformers(opened, variant):
    model, theirs, tokenizer = opened(variant)
    found = Likelihoods(model, tokenizer).continuations(PAIRS)
    for got, pair in zip(found, PAIRS, strict=True):
        given, said = by_hand(tokenizer, *pair)
        ids = [tokenizer.end_ids[0], *given, *said]
        value, greedy = sums(theirs(torch.tensor([ids[:-1]])).logits[0], said)
        assert got.value == pytest.approx(value, rel=1e-5)
        assert (got.tokens, got.greedy) == (len(said), greedy)
    assert found[0].value == pytest.approx(found[1].value, rel=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["t5", "t5-v1.1", "marian"])
def test_encoder_decoders_equal_transformers(opened, variant):
    model, theirs, tokenizer = opened(variant)
    found = Likelihoods(model, tokenizer).continuations(PAIRS)
    for got, (context, text) in zip(found, PAIRS, strict=True):
        source, said = [*tokenizer.encode(context.rstrip()), 1], tokenizer.encode(text.strip())
        given = torch.tensor([[model.spec.start_token, *said[:-1]]])
        logits = theirs(input_ids=torch.tensor([source]), decoder_input_ids=given).logits[0]
        value, greedy = sums(logits, said)
        assert got.value == pytest.approx(value, rel=1e-5)
        assert (got.tokens, got.greedy) == (len(said), greedy)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["bert-mlm", "bert-pretraining"])
def test_masked_hides_each_token_in_turn(opened, variant):
    model, theirs, tokenizer = opened(variant)
    found = Likelihoods(model, tokenizer).continuations(PAIRS)
    for got, pair in zip(found, PAIRS, strict=True):
        given, said = by_hand(tokenizer, *pair)
        ids, value, greedy = [2, *given, *said, 3], 0.0, True
        for place in range(1 + len(given), len(ids) - 1):
            hidden = [*ids[:place], 4, *ids[place + 1 :]]
            out = theirs(torch.tensor([hidden]))
            scores = out.logits if hasattr(out, "logits") else out.prediction_logits
            value += float(scores[0, place].log_softmax(-1)[ids[place]])
            greedy &= int(scores[0, place].argmax()) == ids[place]
        assert got.value == pytest.approx(value, rel=1e-5)
        assert (got.tokens, got.greedy) == (len(said), greedy)


@pytest.mark.parametrize("variant", ["gpt2", "bert-mlm", "t5"])
def test_batches_change_nothing(opened, variant, monkeypatch):
    model, _, tokenizer = opened(variant)
    whole = Likelihoods(model, tokenizer).continuations(PAIRS)
    monkeypatch.setattr(likelihood, "_BATCH_TOKENS", 1)
    monkeypatch.setattr(masked, "_BATCH_TOKENS", 1)
    alone = Likelihoods(model, tokenizer).continuations(PAIRS)
    assert [a.value for a in alone] == pytest.approx([w.value for w in whole], rel=1e-5)
    assert Likelihoods(model, tokenizer).continuations([]) == []


def test_what_a_text_begins_after_is_said(opened):
    causal, masked_model, both = (opened(v) for v in ("gpt2", "bert-mlm", "t5"))
    assert [kind_of(m) for m, _, _ in (causal, masked_model, both)] == ["causal", "masked", "encoder-decoder"]
    assert Likelihoods(causal[0], causal[2]).begin == "<|endoftext|>"
    assert Likelihoods(causal[0], causal[2], begin="nothing").begin == "nothing"
    assert Likelihoods(masked_model[0], masked_model[2]).begin == "[CLS] … [SEP]"
    assert Likelihoods(both[0], both[2]).begin == "start token, source as … </s>"
    assert opening(masked_model[2]) == [2]


def test_without_a_beginning(opened):
    model, _, tokenizer = opened("gpt2")
    bare = Likelihoods(model, tokenizer, begin="nothing")
    assert bare.continuations([("the", " sea")])[0].value != pytest.approx(
        Likelihoods(model, tokenizer).continuations([("the", " sea")])[0].value
    )
    with pytest.raises(InputError, match="context"):
        bare.texts(["the sea"])


@pytest.mark.parametrize("variant", ["gpt2", "bert-mlm", "marian"])
class TestBadInput:
    def test_a_continuation_of_no_tokens(self, opened, variant):
        model, _, tokenizer = opened(variant)
        with pytest.raises(InputError, match=r"item 1: .*no tokens"):
            Likelihoods(model, tokenizer).continuations([("the", " sea"), ("the", "")])

    def test_a_context_that_is_too_long(self, opened, variant):
        model, _, tokenizer = opened(variant)
        long = "the whale swims " * 40
        with pytest.raises(TooLargeError, match=r"item 0: .*64.*cut"):
            Likelihoods(model, tokenizer).continuations([(long, " sea")])
        cut = Likelihoods(model, tokenizer, cut=True)
        assert cut.continuations([(long, " sea")])[0] == cut.continuations([("the whale swims " * 60, " sea")])[0]

    def test_a_continuation_that_is_too_long(self, opened, variant):
        model, _, tokenizer = opened(variant)
        with pytest.raises(TooLargeError, match="item 0"):
            Likelihoods(model, tokenizer, cut=True).continuations([("the", " whale swims" * 60)])


def test_the_longest_that_fits(opened):
    model, theirs, tokenizer = opened("gpt2")
    ids = tokenizer.encode("the whale swims " * 40)[:64]
    text = tokenizer.decode(ids)
    assert tokenizer.encode(text) == ids
    [got] = Likelihoods(model, tokenizer).texts([text])
    assert got.tokens == 64
    with torch.no_grad():
        value, _ = sums(theirs(torch.tensor([[tokenizer.end_ids[0], *ids[:-1]]])).logits[0], ids)
    assert got.value == pytest.approx(value, rel=1e-5)


def test_models_that_give_none(opened, tokenizer_of):
    model, _, tokenizer = opened("bert-classify")
    with pytest.raises(ConfigError, match="head"):
        Likelihoods(model, tokenizer)
    with pytest.raises(ConfigError, match="mask"):
        Likelihoods(opened("bert-mlm")[0], tokenizer_of("bpe"))
