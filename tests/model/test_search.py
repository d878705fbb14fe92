"""The search against `transformers`' generation, token for token."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from lamina.kit.errors import ConfigError
from lamina.model import likeliest
from lamina.model.checkpoint import open_model
from lamina.model.generate import padded
from lamina.model.search import Draw, Said, Search, search
from lamina.model.transformer import Transformer

WIDER = {"marian": 4.0, "t5-v1.1": 16.0}


def sources(count: int = 8) -> list[list[int]]:
    draws = torch.Generator().manual_seed(3)
    return [torch.randint(8, 80, (n % 13 + 1,), generator=draws).tolist() for n in range(5, 5 + 3 * count, 3)]


@dataclass
class Models:
    """Ours and theirs, and the token that ends an answer: one that is said in the middle of many."""

    ours: Transformer
    theirs: Any
    end: int

    def search(self, given: list[list[int]], most: int, **how: Any) -> list[list[int]]:
        """Our answers, with their ends."""
        search_for = Search(**({"forced_end": False} | how))
        found = search(self.ours, given, ends=(self.end,), limits=[most] * len(given), how=search_for)
        return [with_end(said, self.end) for said in found]

    def theirs_say(self, given: list[list[int]], most: int, **how: Any) -> list[list[int]]:
        """Theirs."""
        return theirs_say(self.theirs, given, self.ours.spec.start_token, self.end, most, **how)


def theirs_say(
    model: Any, rows: list[list[int]], start: int | None, end: int, most: int, **how: Any
) -> list[list[int]]:
    """What transformers generates, without start and padding, with its end."""
    ids, segments = padded(rows)
    with torch.no_grad():
        found = model.generate(
            ids,
            attention_mask=segments,
            do_sample=False,
            use_cache=model.config.model_type != "t5",  # whose cache has as many layers as its encoder
            max_new_tokens=most,
            eos_token_id=end,
            decoder_start_token_id=start,
            pad_token_id=start,
            **({"forced_eos_token_id": None, "bad_words_ids": None} | how),
        )[:, 1:].tolist()
    return [row[: row.index(end) + 1] if end in row else row[:most] for row in found]


def with_end(said: Said, end: int) -> list[int]:
    return said.tokens + [end] * said.ended


@pytest.fixture(scope="module", params=["marian", "t5-v1.1"])
def models(reference, request, tmp_path_factory):
    """Random weights wide enough that what is said depends on the source and on what was said."""
    theirs = copy.deepcopy(reference(request.param)[1])
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() == 2 and parameter.requires_grad:
                parameter.mul_(WIDER[request.param])
    folder = tmp_path_factory.mktemp("wide")
    theirs.save_pretrained(folder)
    ours = open_model(folder)
    plain = search(ours, sources(), ends=(5,), limits=[8] * 8)
    middle = Counter(token for said in plain for token in set(said.tokens[2:7]) if token not in said.tokens[:2])
    return Models(ours, theirs, middle.most_common(1)[0][0])


@pytest.mark.parametrize(
    "how",
    [
        {"num_beams": 1},
        {"num_beams": 4},
        {"num_beams": 4, "early_stopping": True},
        {"num_beams": 3, "early_stopping": "never", "length_penalty": 2.0},
        {"num_beams": 4, "length_penalty": 0.6},
        {"num_beams": 4, "no_repeat_ngram_size": 2},
        {"num_beams": 1, "no_repeat_ngram_size": 3},
    ],
    ids=str,
)
def test_it_says_what_transformers_says_token_for_token(models, how, monkeypatch) -> None:
    monkeypatch.setattr(likeliest, "_RUN", 4)  # so that few words make many runs
    found = models.search(sources(), 12, **how)
    assert found == models.theirs_say(sources(), 12, **how)
    if models.theirs.config.model_type == "marian" and how.get("early_stopping") != "never":
        assert any(row[-1] == models.end and len(row) < 12 for row in found), "some come to an end"


def test_forced_ends_and_suppressed_tokens_are_as_in_transformers(models) -> None:
    plain = models.search(sources(), 9, num_beams=1)
    often = Counter(token for row in plain for token in set(row) - {models.end}).most_common(1)[0][0]
    for beams in (1, 4):
        found = models.search(sources(), 9, num_beams=beams, suppressed=(often,), forced_end=True)
        more: dict[str, Any] = {"num_beams": beams, "forced_eos_token_id": models.end, "bad_words_ids": [[often]]}
        assert found == models.theirs_say(sources(), 9, **more)
        assert all(row[-1] == models.end and often not in row for row in found)


@pytest.mark.parametrize("beams", [1, 3])
def test_each_source_has_a_limit_of_its_own(models, beams) -> None:
    given, limits = sources(5), [3, 16, 1, 8, 5]
    how = Search(num_beams=beams, forced_end=False)
    together = search(models.ours, given, ends=(models.end,), limits=limits, how=how)
    alone = [
        search(models.ours, [row], ends=(models.end,), limits=[most], how=how)[0]
        for row, most in zip(given, limits, strict=True)
    ]
    assert together == alone
    assert all(len(with_end(said, 0)) <= most for said, most in zip(together, limits, strict=True))


def test_draws_follow_from_the_seed_and_not_from_the_company(models) -> None:
    given = sources(4)

    def drawn(seeds: list[int], which: list[list[int]], temperature: float = 1.0) -> list[list[int]]:
        draws = [Draw(temperature, seed) for seed in seeds]
        found = search(models.ours, which, ends=(models.end,), limits=[10] * len(which), draws=draws)
        return [said.tokens for said in found]

    first = drawn([1, 2, 3, 4], given)
    assert drawn([1, 2, 3, 4], given) == first
    assert drawn([3], [given[2]], 1.0) == [first[2]]
    assert drawn([5, 6, 7, 8], given) != first
    cold = search(models.ours, given, ends=(models.end,), limits=[10] * 4)
    assert drawn([1, 2, 3, 4], given, 1e-4) == [said.tokens for said in cold]


def test_a_decoder_alone_is_refused(reference) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        search(open_model(reference("gpt2")[0]), [[1]], ends=(2,), limits=[3])
