"""A request in vLLM's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lamina.contracts.inference import Constraint, SamplingParams
from lamina.deployment.engine.adjusting import Rules
from lamina.deployment.engine.admission import Admission
from lamina.deployment.vllm.asked import Asked, asked_of
from lamina.kit.tokenizer import open_tokenizer


def asked(tokenizer, generation: dict[str, Any] | None = None, salt: str = "", **sampling: Any) -> Asked:
    given, settled = SamplingParams(**sampling), generation or {}
    admission = Admission(tokenizer, version="v1", context=160, vocabulary=328, generation=settled)
    try:
        sequence = admission.sequence("r", [5, 6, 7], given, lambda item: None, None)
    finally:
        admission.guidance.close()
    return asked_of(sequence, given, Rules.settle(given, settled, 328), salt)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return open_tokenizer(tokenizer_folder)


def test_what_nobody_says_is_neutral(tokenizer) -> None:
    fields = asked(tokenizer).fields
    assert (fields["temperature"], fields["top_p"], fields["top_k"], fields["min_p"]) == (1.0, 1.0, 0, 0.0)
    assert (fields["repetition_penalty"], fields["presence_penalty"], fields["frequency_penalty"]) == (1.0, 0.0, 0.0)
    assert (fields["logit_bias"], fields["seed"], fields["logprobs"], fields["min_tokens"]) == (None, None, 0, 0)
    assert fields["max_tokens"] == 157, "what the context leaves"


def test_everything_that_a_request_says_goes_along(tokenizer) -> None:
    said = {"temperature": 0.5, "top_p": 0.8, "top_k": 7, "min_p": 0.1, "max_tokens": 9, "min_tokens": 2}
    penalties = {"repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": -0.4}
    found = asked(tokenizer, salt="mine", **said, **penalties, seed=11, logprobs=3, logit_bias=((4, -100.0),))
    assert found.fields | said | penalties == found.fields
    assert (found.fields["seed"], found.fields["logprobs"], found.fields["logit_bias"]) == (11, 3, {4: -100.0})
    assert found.salt == "mine"


def test_the_models_own_settings_come_before_neutral_ones(tokenizer) -> None:
    generation = {"temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1, "eos_token_id": 9}
    fields = asked(tokenizer, generation).fields
    assert (fields["temperature"], fields["top_k"], fields["repetition_penalty"]) == (0.7, 20, 1.1)
    assert fields["stop_token_ids"] == sorted({9, *tokenizer.end_ids})
    assert fields["ignore_eos"], "ends are ours to say"
    assert asked(tokenizer, generation, ignore_eos=True).fields["stop_token_ids"] == []


def test_stop_strings_are_found_here_and_a_form_says_itself_when_it_ends(tokenizer) -> None:
    form = Constraint("regex", "[ab]{3}")
    found = asked(tokenizer, stop=("the",), constraint=form, min_tokens=2)
    assert "stop" not in found.fields
    assert (found.constraint, found.fields["min_tokens"]) == (form, 0)
    assert asked(tokenizer, min_tokens=2).fields["min_tokens"] == 2


def test_a_schema_takes_our_white_space_along_unless_it_names_its_own(tokenizer) -> None:
    for said, pattern in (({"type": "object"}, r"[ \n\t]{1,16}"), ({"x-guidance": {"whitespace_pattern": " ?"}}, " ?")):
        found = asked(tokenizer, constraint=Constraint("json", json.dumps(said)))
        assert json.loads(found.constraint.text) == said | {"x-guidance": {"whitespace_pattern": pattern}}
