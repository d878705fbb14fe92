"""The plain loops against `transformers`' generation."""

from __future__ import annotations

import pytest
import torch

from lamina.kit.errors import ConfigError
from lamina.model.checkpoint import open_model
from lamina.model.generate import greedy
from lamina.model.search import translate


def sources() -> list[list[int]]:
    draws = torch.Generator().manual_seed(3)
    return [torch.randint(1, 80, (n,), generator=draws).tolist() for n in (9, 3, 14, 1)]


def test_greedy_equals_transformers(reference, variant):
    folder, theirs = reference(variant)
    prompt = sources()[0]
    given = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": 5, "pad_token_id": 0, "bos_token_id": None}
    wanted = theirs.generate(torch.tensor([prompt]), **given)[0, len(prompt) :].tolist()
    assert (
        greedy(open_model(folder), prompt, end=(5,), max_tokens=12) == wanted[: wanted.index(5) if 5 in wanted else 12]
    )


def test_a_prompt_needs_a_token(reference):
    with pytest.raises(ConfigError, match="prompt"):
        greedy(open_model(reference("gpt2")[0]), [], end=(), max_tokens=1)


def score(theirs, source: list[int], said: list[int], start: int, end: int) -> float:
    """The log-probability that `transformers` gives ``said`` and the end after it, by their number."""
    ids = torch.tensor([[start, *said, end]])
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([source]), decoder_input_ids=ids[:, :-1]).logits
    return float(logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).sum()) / (len(said) + 1)


@pytest.mark.parametrize("beams", [1, 4])
def test_what_beam_search_finds_is_as_likely_as_what_transformers_finds(reference, seq2seq, beams):
    folder, theirs = reference(seq2seq)
    model = open_model(folder)
    start, end = model.spec.start_token, 7
    found = translate(model, sources(), end=end, max_tokens=10, beams=beams)
    for source, said in zip(sources(), found, strict=True):
        wanted = theirs.generate(
            torch.tensor([source]), num_beams=beams, max_new_tokens=10, use_cache=False, do_sample=False,
            early_stopping=False,
            eos_token_id=end, forced_eos_token_id=end, decoder_start_token_id=start, pad_token_id=start,
            bad_words_ids=None, length_penalty=1.0,
        )[0, 1:].tolist()  # fmt: skip
        wanted = wanted[: wanted.index(end)]
        assert len(said) < 10
        if beams == 1:
            assert said == wanted
        else:
            assert score(theirs, source, said, start, end) >= score(theirs, source, wanted, start, end) - 1e-4


def test_a_source_does_not_change_with_its_company(reference, seq2seq):
    model = open_model(reference(seq2seq)[0])
    together = translate(model, sources(), end=7, max_tokens=10, beams=3)
    assert together == [translate(model, [one], end=7, max_tokens=10, beams=3)[0] for one in sources()]
    assert translate(model, [], end=7, max_tokens=10) == []


def test_only_an_encoder_decoder_translates(reference):
    with pytest.raises(ConfigError, match="encoder"):
        translate(open_model(reference("gpt2")[0]), [[1]], end=2, max_tokens=3)
