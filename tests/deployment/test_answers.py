"""OpenAI's client against a tiny model: what each field of a request does to the answer."""

from __future__ import annotations

import asyncio
import math

import openai
import pytest

HELLO = [{"role": "user", "content": "the whale"}]


def chat(client: openai.OpenAI, **fields: object):
    given = {"model": "", "messages": HELLO, "max_tokens": 12, "temperature": 0, "extra_body": {}} | fields
    return client.chat.completions.create(**given)


def words(answer) -> list[bytes]:
    return [bytes(entry.bytes) for entry in answer.choices[0].logprobs.content]


def test_bias_and_penalties_reach_the_draw(client) -> None:
    forced = chat(client, logprobs=True, logit_bias={"70": 100})
    assert len(set(words(forced))) == 1
    varied = chat(client, logprobs=True, logit_bias={"70": 100}, extra_body={"repetition_penalty": 100})
    assert words(varied)[0] == words(forced)[0]
    assert len(set(words(varied))) == 12
    assert forced.choices[0].logprobs.content[0].logprob < -0.5, "log-probabilities are the model's own"


def test_a_cut_by_min_p_is_seen(client) -> None:
    greedy = chat(client).choices[0].message.content
    hot = chat(client, temperature=2, seed=4).choices[0].message.content
    assert chat(client, temperature=2, seed=4, extra_body={"min_p": 1.0}).choices[0].message.content == greedy
    assert hot != greedy


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_have_bytes_and_are_ordered(client, stream) -> None:
    fields = {"logprobs": True, "top_logprobs": 4, "temperature": 1, "seed": 3}
    if stream:
        chunks = list(chat(client, stream=True, **fields))
        content = [e for c in chunks if c.choices[0].logprobs for e in c.choices[0].logprobs.content]
    else:
        content = chat(client, **fields).choices[0].logprobs.content
    assert len(content) == 12
    text = chat(client, **fields).choices[0].message.content
    raw = b"".join(bytes(entry.bytes) for entry in content)
    assert raw.decode("utf-8", "replace") == text, "a token that is part of a character has its true bytes"
    for entry in content:
        values = [one.logprob for one in entry.top_logprobs]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1.0 + 1e-6
        assert entry.logprob <= values[0] + 1e-6


def test_a_seed_gives_the_answer_again_whatever_runs_beside_it(client) -> None:
    alone = chat(client, temperature=1, seed=8, n=1).choices[0].message.content
    several = chat(client, temperature=1, seed=8, n=4)
    texts = [c.message.content for c in several.choices]
    assert texts[0] == alone
    assert len(set(texts)) > 1


def test_the_answers_to_one_prompt_compute_it_once(client) -> None:
    long = [{"role": "user", "content": "the sea and the ship and the whale " * 3}]
    answer = chat(client, messages=long, n=4, max_tokens=2, temperature=1, stream=False)
    cached = answer.usage.prompt_tokens_details.cached_tokens
    assert answer.usage.prompt_tokens > 32
    usages = client.chat.completions.create(model="", messages=long, n=2, max_tokens=2).usage
    assert usages.prompt_tokens_details.cached_tokens >= cached


def test_an_end_may_be_put_off(client) -> None:
    end = {"logit_bias": {"2": 100}}
    ended = chat(client, **end)
    assert (ended.choices[0].finish_reason, ended.usage.completion_tokens) == ("stop", 1)
    later = chat(client, **end, extra_body={"min_tokens": 5})
    assert later.usage.completion_tokens == 6
    never = chat(client, **end, extra_body={"ignore_eos": True})
    assert (never.choices[0].finish_reason, never.usage.completion_tokens) == ("length", 12)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"extra_body": {"min_tokens": 13}}, "min_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n": 10_000}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "now"}}]}, "tools"),  # the template has no place for them
    ],
)
def test_what_cannot_be_is_refused_with_the_fields_name(client, fields, param) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, **fields)
    assert raised.value.param == param


def test_completions_have_log_probabilities(client) -> None:
    answer = client.completions.create(model="", prompt="the whale", max_tokens=5, logprobs=3, temperature=0, n=2)
    assert [c.text for c in answer.choices] == [answer.choices[0].text] * 2
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 5
    for top, value in zip(logprobs.top_logprobs, logprobs.token_logprobs, strict=True):
        assert len(top) == 3, "tokens that are parts of characters keep apart"
        assert max(top.values()) == pytest.approx(value)


def test_the_likeliest_of_several_is_given(client) -> None:
    fields = {"model": "", "prompt": ["the whale", "the sea"], "max_tokens": 6, "temperature": 1.5, "seed": 5}
    fields["extra_body"] = {"ignore_eos": True}
    every = client.completions.create(**fields, n=4, logprobs=0)
    best = client.completions.create(**fields, n=1, best_of=4, logprobs=0)
    assert [choice.index for choice in best.choices] == [0, 1]
    for place, choice in enumerate(best.choices):
        means = {
            c.text: sum(c.logprobs.token_logprobs) / len(c.logprobs.token_logprobs)
            for c in every.choices[4 * place : 4 * place + 4]
        }
        assert choice.text == max(means, key=means.__getitem__)
    assert best.usage.completion_tokens == every.usage.completion_tokens, "all that were made are counted"


def test_the_asynchronous_client_streams_many_answers_at_once(client) -> None:
    """More than fit in a batch; one of them is left in the middle, and the others are those of one after another."""
    seeds = range(12)
    alone = [chat(client, temperature=1, seed=seed).choices[0].message.content for seed in seeds]

    async def ask(several: openai.AsyncOpenAI, seed: int) -> str:
        stream = await several.chat.completions.create(
            model="", messages=HELLO, max_tokens=12, temperature=1, seed=seed, stream=True
        )
        return "".join([part.choices[0].delta.content or "" async for part in stream])

    async def leave(several: openai.AsyncOpenAI) -> None:
        stream = await several.chat.completions.create(model="", messages=HELLO, max_tokens=1000, stream=True)
        async for part in stream:
            if part.choices[0].delta.content:
                break
        await stream.close()

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none", max_retries=0, timeout=30) as several:
            _, *answers = await asyncio.gather(leave(several), *(ask(several, seed) for seed in seeds))
            return answers

    assert asyncio.run(together()) == alone
