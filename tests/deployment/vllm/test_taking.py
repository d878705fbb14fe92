"""vLLM's tokens become the chunks that the own engine would send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.engine.admission import Admission
from lamina.deployment.engine.lifecycle import Teller
from lamina.deployment.engine.outbox import Outbox
from lamina.deployment.engine.sampling import Drawn
from lamina.deployment.engine.sequence import Sequence
from lamina.deployment.vllm.backend import Told
from lamina.deployment.vllm.taking import Taker
from lamina.kit.errors import LaminaError


def step(*tokens: int, over: str = "", cached: int = 0) -> Told:
    """What vLLM tells: of each token its log-probability, and the likeliest ones."""
    return Told(tuple(Drawn(token, -0.5, 0.0, ((token, -0.5), (3, -2.0), (4, -3.0))) for token in tokens), cached, over)


@pytest.fixture
def asked(tiny_tokenizer) -> Callable[..., tuple[Sequence, list[Chunk | LaminaError]]]:
    """``asked(…)``: a sequence of these settings, and the list of what is sent for it."""
    admission = Admission(tiny_tokenizer, version="v1", context=160, vocabulary=80, generation={})

    def make(**sampling) -> tuple[Sequence, list[Chunk | LaminaError]]:
        sent: list[Chunk | LaminaError] = []
        return admission.sequence("r", [1, 2, 3], SamplingParams(**sampling), sent.append, None), sent

    return make


@pytest.fixture
def take(tiny_tokenizer):
    """``take(sequence, told)``: through an outbox that is emptied at once."""
    outbox = Outbox()
    taker = Taker(Teller(tiny_tokenizer), outbox)

    def through(sequence: Sequence, told: Told) -> Chunk | LaminaError | None:
        end = taker.take(sequence, told)
        outbox.flush()
        return end

    through.taker = taker
    return through


def test_several_tokens_of_a_step_and_the_end_by_length(asked, take, tiny_tokenizer) -> None:
    sequence, sent = asked(max_tokens=3)
    assert take(sequence, step(*tiny_tokenizer.encode("ab"), cached=2)) is None
    end = take(sequence, step(*tiny_tokenizer.encode("c"), over="length", cached=9))
    assert [c.text for c in sent] == ["a", "b"]
    assert (end.text, end.finish_reason, end.version) == ("c", "length", "v1")
    assert (end.usage.prompt_tokens, end.usage.completion_tokens, end.usage.cached_tokens) == (3, 3, 2)
    assert (end.mean_logprob, end.mean_entropy) == (-0.5, None)


def test_a_stop_string_over_several_tokens_ends_it_and_what_follows_is_dropped(asked, take, tiny_tokenizer) -> None:
    sequence, sent = asked(stop=("bcd",))
    end = take(sequence, step(*tiny_tokenizer.encode("abcdef")))
    assert "".join(c.text for c in [*sent, end]) == "a"
    assert (end.finish_reason, end.usage.completion_tokens) == ("stop", 4)


def test_an_end_token_is_no_text(asked, take, tiny_tokenizer) -> None:
    sequence, sent = asked()
    end = take(sequence, step(*tiny_tokenizer.encode("a"), tiny_tokenizer.end_ids[0], over="stop"))
    assert ([c.text for c in sent], end.text, end.finish_reason, end.tokens) == (["a"], "", "stop", ())


def test_as_many_likely_tokens_as_were_asked_for(asked, take) -> None:
    for count, places in ((None, 0), (0, 1), (2, 1)):
        sequence, sent = asked(logprobs=count)
        take(sequence, step(5))
        assert len(sent[0].logprobs) == places
        assert [len(one.top) for one in sent[0].logprobs] == [count] * places
    assert sent[0].logprobs[0].top[1].logprob == -2.0


def test_what_vllm_gives_up_is_an_error_and_a_full_context_is_a_length(asked, take, tiny_tokenizer) -> None:
    sequence, _ = asked(stop=("bx",))
    take(sequence, step(*tiny_tokenizer.encode("ab")))
    cut = take(sequence, step(over="length"))
    assert (cut.text, cut.finish_reason) == ("b", "length"), "what was held back comes with the end"
    assert isinstance(take(asked()[0], step(over="error")), LaminaError)


def test_the_observer_hears_of_each_token(asked, take) -> None:
    heard: list[str] = []

    class Ear:
        def first_token(self, seconds: float, prompt_tokens: int) -> None:
            heard.append(f"first after {prompt_tokens}")

        def next_token(self, seconds: float) -> None:
            heard.append("next")

        def finished(self, reason: str, seconds: float, generated: int) -> None:
            heard.append(reason)

    take.taker._teller.observer = Ear()
    take(asked()[0], step(5, 6))
    assert heard == ["first after 3", "next"]
