"""Minimal pairs, choices, masked tokens and bits per byte, each against a plain computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lamina.kit.errors import ConfigError, InputError, TooLargeError
from lamina.model.architectures.gpt import llama
from lamina.model.evaluate.bits_per_byte import bits_per_byte, bits_per_byte_score
from lamina.model.evaluate.likelihood import Likelihoods
from lamina.model.evaluate.masked import masked_accuracy
from lamina.model.evaluate.minimal_pairs import MinimalPair, minimal_pairs, tie
from lamina.model.evaluate.multiple_choice import Choice, multiple_choice
from lamina.model.transformer import Transformer

SENTENCES = [
    MinimalPair("the whale swims in the sea", "the whale swim in the sea", "agreement"),
    MinimalPair("cats sit on mats", "cats sits on mats", "agreement"),
    MinimalPair("the old man said", "the said old man", "order"),
    MinimalPair("dogs bark at boxes", "dogs at bark boxes", "order"),
]
CHOICES = [
    Choice("the whale swims in", ("the sea", "a box filled with jam", "mats"), 0),
    Choice("a ship sails over", ("dogs", "the sea to the island"), 1),
    Choice("call me what", ("you like", "zebras", "the ship", "quickly"), 0),
]


def uniform(model: Transformer) -> Transformer:
    with torch.no_grad():
        model.head.weight.zero_()
        if model.head.bias is not None:
            model.head.bias.zero_()
    return model


class TestMinimalPairs:
    @pytest.mark.parametrize("variant", ["gpt2", "bert-mlm"])
    def test_equals_the_definition(self, opened, variant):
        model, _, tokenizer = opened(variant)
        asked = Likelihoods(model, tokenizer)
        found = minimal_pairs(asked, SENTENCES, name="blimp")
        right = [asked.texts([p.good])[0].value > asked.texts([p.bad])[0].value for p in SENTENCES]
        assert found.values == tuple(map(float, right))
        assert found.value == np.mean(right)
        assert found.details["agreement"] == np.mean(right[:2])
        assert found.details["ties"] == 0
        assert "ties wrong" in str(found)
        assert asked.begin in str(found)

    @pytest.mark.parametrize("variant", ["gpt2", "bert-mlm", "t5"])
    def test_the_space_between_belongs_to_neither(self, opened, variant):
        model, _, tokenizer = opened(variant)
        asked = Likelihoods(model, tokenizer)
        one, other = (asked.continuations([pair])[0] for pair in (("call me ", "what"), ("call me", " what")))
        assert one == other

    def test_a_model_that_cannot_tell_scores_nothing(self, opened):
        model, _, tokenizer = opened("gpt2-untied")
        pairs = [MinimalPair(f"{a} sea", f"{b} sea") for a, b in [("the", "the"), ("a", "a"), ("of", "of")]]
        pairs += [MinimalPair("abc", "cba"), MinimalPair("xyzq", "qzyx")]
        encoded = [tuple(map(len, tokenizer.encode_batch([p.good, p.bad]))) for p in pairs]
        pairs = [p for p, (a, b) in zip(pairs, encoded, strict=True) if a == b]
        assert len(pairs) >= 4
        found = minimal_pairs(Likelihoods(uniform(model), tokenizer), pairs)
        assert found.value == 0.0
        assert found.details["ties"] == len(pairs)

    def test_ties_but_for_rounding(self):
        assert tie(-100.0, -100.0004)
        assert not tie(-100.0, -100.01)
        assert tie(0.0, 0.0)

    def test_nothing_to_ask(self, opened):
        model, _, tokenizer = opened("gpt2")
        asked = Likelihoods(model, tokenizer)
        for some in ([], SENTENCES[:1]):
            with pytest.raises(InputError, match="at least two"):
                minimal_pairs(asked, some)
        with pytest.raises(TooLargeError):
            minimal_pairs(asked, [*SENTENCES, MinimalPair("the whale " * 90, "the")])


class TestMultipleChoice:
    @pytest.mark.parametrize("variant", ["gpt2", "bert-mlm", "t5"])
    @pytest.mark.parametrize("normalisation", ["sum", "byte", "token"])
    def test_equals_the_definition(self, opened, variant, normalisation):
        model, _, tokenizer = opened(variant)
        asked = Likelihoods(model, tokenizer)
        found = multiple_choice(asked, CHOICES, normalisation=normalisation)
        for value, item in zip(found.values, CHOICES, strict=True):
            scores = []
            for choice in item.choices:
                [one] = asked.continuations([(item.context, " " + choice)])
                by = {"sum": 1, "byte": len(choice.encode()), "token": one.tokens}[normalisation]
                scores.append(one.value / by)
            assert value == float(int(np.argmax(scores)) == item.answer)
        assert found.details["chance"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 4) / 3)
        chance = found.details["chance"]
        assert found.details["centred"] == pytest.approx((found.value - chance) / (1 - chance))

    def test_the_normalisation_is_named_and_decides(self, opened):
        model, _, tokenizer = opened("gpt2-untied")
        asked = Likelihoods(uniform(model), tokenizer)  # the shortest is the likeliest sum; per token all tie
        items = [Choice("the", ("sea", "sea of the whale"), 0), Choice("a", ("ship", "ship of the sea"), 0)]
        assert multiple_choice(asked, items, normalisation="sum").value == 1.0
        assert multiple_choice(asked, items, normalisation="token").value == 0.0
        names = [str(multiple_choice(asked, items, normalisation=n)) for n in ("sum", "byte", "token")]
        assert "per UTF-8 byte" in names[1]
        assert "per token" in names[2]
        assert "per" not in names[0].split("Σ")[1].split(",")[0]

    def test_the_template_is_what_is_read(self, opened):
        model, _, tokenizer = opened("gpt2")
        asked = Likelihoods(model, tokenizer)
        found = multiple_choice(asked, CHOICES, normalisation="sum", template="said: {context} of {choice} the")
        first = [
            asked.continuations([("said: the whale swims in of", f" {c} the")])[0].value for c in CHOICES[0].choices
        ]
        assert found.values[0] == float(np.argmax(first) == 0)
        assert "said: {context} of {choice} the" in str(found)

    @pytest.mark.parametrize("template", ["{context}", "{choice}", "{choice} {context}", "{context} {x} {choice}"])
    def test_templates_that_ask_nothing(self, opened, template):
        model, _, tokenizer = opened("gpt2")
        with pytest.raises(ConfigError, match="template"):
            multiple_choice(Likelihoods(model, tokenizer), CHOICES, normalisation="sum", template=template)

    @pytest.mark.parametrize(
        ("item", "words"),
        [
            (Choice("the", ("sea",), 0), "1 choices"),
            (Choice("the", ("sea", ""), 0), "empty"),
            (Choice("the", ("sea", "ship"), 2), "answer 2"),
        ],
    )
    def test_items_that_ask_nothing(self, opened, item, words):
        model, _, tokenizer = opened("gpt2")
        with pytest.raises(InputError, match=f"item 1: .*{words}"):
            multiple_choice(Likelihoods(model, tokenizer), [CHOICES[0], item], normalisation="sum")

    def test_items_of_one_passage_are_drawn_together(self, opened):
        model, _, tokenizer = opened("gpt2")
        items = [Choice(c.context, c.choices, c.answer, cluster="p") for c in CHOICES[:2]] + [CHOICES[2]]
        assert len(set(multiple_choice(Likelihoods(model, tokenizer), items, normalisation="sum").clusters)) == 2


class TestMaskedAccuracy:
    TEXTS = ("the whale swims in the sea", "cats sit on mats while dogs bark", "a ship")

    @torch.no_grad()
    def test_equals_the_definition(self, opened):
        model, theirs, tokenizer = opened("bert-mlm")
        found = masked_accuracy(model, tokenizer, self.TEXTS, share=0.3, seed=5)
        right = asked = nats = 0.0
        for n, text in enumerate(self.TEXTS):
            ids = [2, *tokenizer.encode(text), 3]
            length = len(ids) - 2
            places = np.random.default_rng((5, n)).permutation(length)[: max(1, round(0.3 * length))] + 1
            hidden = [4 if place in places else i for place, i in enumerate(ids)]
            logits = theirs(torch.tensor([hidden])).logits[0].log_softmax(-1)
            for place in places:
                right += int(logits[place].argmax()) == ids[place]
                nats -= float(logits[place, ids[place]])
                asked += 1
        assert found.value == pytest.approx(right / asked)
        assert found.details["tokens"] == asked
        assert found.details["perplexity"] == pytest.approx(math.exp(nats / asked), rel=1e-4)
        assert "30% of the tokens hidden, seed 5" in str(found)

    def test_bad_input(self, opened):
        model, _, tokenizer = opened("bert-mlm")
        with pytest.raises(InputError, match="no texts"):
            masked_accuracy(model, tokenizer, [])
        with pytest.raises(InputError, match="at least two"):
            masked_accuracy(model, tokenizer, ["the sea"])
        with pytest.raises(InputError, match=r"item 1: .*no tokens"):
            masked_accuracy(model, tokenizer, ["the sea", " "])
        with pytest.raises(TooLargeError, match="item 0"):
            masked_accuracy(model, tokenizer, ["the sea " * 60, "a"])
        with pytest.raises(ConfigError, match="share"):
            masked_accuracy(model, tokenizer, ["a", "b"], share=0.0)


class TestBitsPerByte:
    def test_the_score_is_the_measure(self, opened):
        model, _, tokenizer = opened("gpt2")
        texts = ["the whale swims in the sea", "", "a ship sails over the sea to the island"]
        measured, found = bits_per_byte(model, tokenizer, texts), bits_per_byte_score(model, tokenizer, texts)
        assert found.value == pytest.approx(measured.value)
        nats = sum(n for n, _ in measured.per_document)
        assert found.details["perplexity of tokens"] == pytest.approx(math.exp(nats / measured.tokens))
        assert found.better == "lower"
        assert "<|endoftext|>" in str(found)

    def test_it_does_not_depend_on_the_tokenizer(self):
        """A source of fair letters a, b: 1 bit a byte, by letters (2 ids) and by pairs (4 ids) alike."""
        texts = ["abbaabab" * 4, "bbbaabaa" * 4]
        found = []
        for tokenizer, vocabulary in ((Letters(1), 2), (Letters(2), 4), (Letters(4), 16)):
            model = Transformer(llama(vocabulary=vocabulary + 1, width=16, layers=1, heads=2, max_positions=64))
            knows(model.eval(), vocabulary)
            found.append(bits_per_byte(model, tokenizer, texts))
        assert [f.value for f in found] == pytest.approx([1.0] * 3, rel=1e-5)
        assert [f.tokens for f in found] == [64, 32, 16]


class Letters:
    """Runs of ``size`` letters of a and b, one token a run; the last id ends documents."""

    def __init__(self, size: int) -> None:
        self.size, self.end_ids = size, (2**size,)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [
            [int(t[i : i + self.size].translate(str.maketrans("ab", "01")), 2) for i in range(0, len(t), self.size)]
            for t in texts
        ]


def knows(model: Transformer, letters: int) -> None:
    """Make it the true distribution: even over the letters, nothing on the end of documents."""
    with torch.no_grad():
        model.stack.norm.weight.zero_()

    class Even(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = torch.zeros(*x.shape[:-1], letters + 1)
            scores[..., letters] = -torch.inf
            return scores

    model.head = Even()
