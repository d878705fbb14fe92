"""Translations against sacrebleu, similarity against a plain rank correlation."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import sacrebleu

from lamina.kit.errors import InputError, MissingExtraError
from lamina.model.evaluate import translation as module
from lamina.model.evaluate.score import Asked
from lamina.model.evaluate.similarity import similarity
from lamina.model.evaluate.translation import translate_and_score, translation

ASKED = Asked(template="the source alone", begin="…", normalisation="1 beam")
REFERENCES = [
    "the whale swims in the deep sea",
    "a ship sails over the sea",
    "call me what you like",
    "cats sit on mats",
]
SAID = ["the whale swims in a deep sea", "the ship sails over the sea", "call me what you want", "cats sit on mats"]


class TestTranslation:
    def test_equals_sacrebleu(self):
        found = translation(SAID, REFERENCES, asked=ASKED)
        assert found.bleu.value == pytest.approx(sacrebleu.corpus_bleu(SAID, [REFERENCES]).score)
        assert found.chrf.value == pytest.approx(sacrebleu.corpus_chrf(SAID, [REFERENCES]).score)
        assert "tok:13a" in str(found.bleu)
        assert "nc:6" in str(found.chrf)
        assert "1 beam" in str(found.bleu)

    def test_the_error_is_that_of_sacrebleus_bootstrap(self):
        draws = np.random.default_rng(0)
        words = [*REFERENCES[0].split(), *REFERENCES[1].split(), *REFERENCES[2].split()]
        references = [" ".join(draws.choice(words, 9)) for _ in range(200)]
        said = [" ".join(w if draws.random() < 0.7 else "no" for w in r.split()) for r in references]
        found = translation(said, references, asked=ASKED)
        theirs = sacrebleu.BLEU().corpus_score(said, [references], n_bootstrap=400)
        assert found.bleu.error == pytest.approx(theirs._ci / 1.96, rel=0.2)

    def test_bad_input(self):
        with pytest.raises(InputError, match="no items"):
            translation([], [], asked=ASKED)
        with pytest.raises(InputError, match="at least two"):
            translation(SAID[:1], REFERENCES[:1], asked=ASKED)
        with pytest.raises(InputError, match="4 translations have 3"):
            translation(SAID, REFERENCES[:3], asked=ASKED)
        with pytest.raises(InputError, match=r"item 1: .*empty"):
            translation(SAID[:2], ["the", " "], asked=ASKED)

    def test_without_sacrebleu_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sacrebleu", None)
        with pytest.raises(MissingExtraError, match=r"lamina\[evaluate\]"):
            translation(SAID, REFERENCES, asked=ASKED)

    def test_a_model_is_scored_on_what_it_writes(self, opened, monkeypatch):
        """The tiny random models repeat one token: what they would say is put in by hand."""
        model, _, tokenizer = opened("marian")
        sources = ["the sea is deep", "a ship", "call me", "mats"]
        asked = []

        def write(model, rows, *, end, max_tokens, beams):
            asked.append((rows, end, max_tokens, beams))
            return [tokenizer.encode(text) for text in SAID]

        monkeypatch.setattr(module, "translate", write)
        pairs = list(zip(sources, REFERENCES, strict=True))
        found = translate_and_score(model, tokenizer, pairs, max_tokens=12, beams=2)
        assert asked == [([[*tokenizer.encode(source), 1] for source in sources], 1, 12, 2)]
        assert found.chrf.value == pytest.approx(sacrebleu.corpus_chrf(SAID, [REFERENCES]).score)
        assert "2 beams, at most 12 tokens" in str(found.chrf)
        assert "… </s>" in str(found.bleu)

    def test_a_real_model_is_asked(self, opened):
        model, _, tokenizer = opened("marian")
        assert translate_and_score(model, tokenizer, [("a", "ship"), ("the sea", "c")], max_tokens=5).bleu.value == 0.0
        with pytest.raises(InputError, match="item 1"):
            translate_and_score(model, tokenizer, [("a", "b"), ("the sea " * 60, "c")])


class TestSimilarity:
    PAIRS = (("a", "b", 3.0), ("a", "c", 1.0), ("b", "c", 2.0), ("c", "d", 0.0), ("a", "d", 5.0))

    @staticmethod
    def embed(texts):
        draws = {t: np.random.default_rng(ord(t)).normal(size=4) for t in texts}
        return np.array([draws[t] for t in texts], np.float32)

    def test_equals_the_rank_correlation(self):
        cosines = []
        for a, b, _ in self.PAIRS:
            x, y = self.embed([a])[0].astype(float), self.embed([b])[0].astype(float)
            cosines.append(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
        ranks = [np.argsort(np.argsort(v)) for v in (cosines, [s for *_, s in self.PAIRS])]
        found = similarity(self.embed, self.PAIRS)
        assert found.value == pytest.approx(np.corrcoef(*ranks)[0, 1])
        assert "Spearman" in str(found)

    def test_its_error_is_the_spread_of_draws(self):
        def draw(seed: int):
            draws = np.random.default_rng(seed)
            angle = draws.uniform(0, np.pi, 150)
            gold = -angle + draws.normal(scale=0.8, size=150)
            vectors = {"o": np.array([1.0, 0.0])} | {
                str(n): np.array([np.cos(a), np.sin(a)]) for n, a in enumerate(angle)
            }
            pairs = [("o", str(n), float(g)) for n, g in enumerate(gold)]
            return similarity(lambda texts: np.array([vectors[t] for t in texts]), pairs)

        found = [draw(seed) for seed in range(60)]
        spread = np.std([f.value for f in found], ddof=1)
        assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.3)

    def test_bad_input(self):
        with pytest.raises(InputError, match="no pairs"):
            similarity(self.embed, [])
        with pytest.raises(InputError, match="at least four"):
            similarity(self.embed, self.PAIRS[:3])
        with pytest.raises(InputError, match="differ"):
            similarity(self.embed, [(a, b, 1.0) for a, b, _ in self.PAIRS])
        with pytest.raises(InputError, match="without a length"):
            similarity(lambda texts: np.zeros((len(texts), 3), np.float32), self.PAIRS)
        with pytest.raises(InputError):
            similarity(lambda texts: np.ones((len(texts), 3), np.float32), self.PAIRS)
