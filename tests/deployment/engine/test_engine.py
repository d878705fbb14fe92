from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.compress.quantize import dequantize, quantize
from lamina.deployment.engine.admission import Standing
from lamina.deployment.engine.change import Change
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.native.binding import describe, open_library
from lamina.kit.errors import BusyError, InputError, LaminaError
from lamina.testing import Answer

GREEDY = SamplingParams(temperature=0.0, max_tokens=24)

NATIVE_HERE = pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")
NATIVE = pytest.param(True, "native", marks=NATIVE_HERE)


@pytest.fixture
def engine(engine):
    return partial(engine, max_sequences=6, chunk=16, wide_chunk=32)


def ask(engine: Engine, prompt: list[int], sampling: SamplingParams = GREEDY, id: str | None = None) -> Answer:
    answer = Answer()
    engine.submit(id or f"r{time.monotonic_ns()}", prompt, sampling, answer)
    return answer


def naive(model, prompt: Sequence[int], count: int, end: int) -> list[int]:
    """Greedy decoding without a cache: the whole sequence through the model for every token."""
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + count:
            token = int(model.logits(model(torch.tensor([ids]))[0, -1]).argmax())
            if token == end:
                break
            ids.append(token)
    return ids[len(prompt) :]


def prompts(count: int, longest: int = 60) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [torch.randint(0, 80, (n,), generator=generator).tolist() for n in lengths]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize(
    "options",
    [{}, {"max_sequences": 1}, {"block_tokens": 4, "chunk": 4, "wide_chunk": 8}, {"cache_mb": 1, "context": 90}],
    ids=["batched", "one by one", "small blocks", "small context"],
)
def test_greedy_answers_equal_the_naive_loop(family, options, engine, tiny_model, tiny_tokenizer) -> None:
    asked = prompts(9)
    end = tiny_tokenizer.end_ids[0]
    expected = [naive(tiny_model(family), p, 24, end) for p in asked]
    assert len({tuple(e) for e in expected}) > 5, "the model says the same to everybody"
    one = engine(tiny_model(family), **options)
    answers = [ask(one, p) for p in asked]
    assert [a.tokens for a in answers] == expected


@NATIVE_HERE
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_native_answers_equal_the_naive_loop(family, engine, tiny_model, tiny_tokenizer) -> None:
    """Of the int8 weights, whole: batched, in pieces, over prefixes that are there, and preempted."""
    asked = prompts(9, longest=30)
    asked += [[*asked[0], *more] for more in asked[1:4]]
    plain = dequantize(quantize(tiny_model(family)), torch.float32)
    expected = [naive(plain, p, 24, tiny_tokenizer.end_ids[0]) for p in asked]
    one = engine(quantize(tiny_model(family)), kernels="native", chunk=8, context=96)
    one._blocks._free = dict.fromkeys(range(24))
    one._blocks.total = 24
    answers = [ask(one, p) for p in asked]
    seen = list(one._live.values())
    assert [a.tokens for a in answers] == expected
    assert sum(s.preemptions for s in seen) > 0
    one._blocks.check([])


def test_preempted_answers_equal_the_naive_loop(engine, tiny_model, tiny_tokenizer) -> None:
    asked = prompts(6, longest=30)
    one = engine(context=64, max_sequences=6)
    one._blocks._free = dict.fromkeys(range(12))  # 96 tokens for six requests of up to 54
    one._blocks.total = 12
    answers = [ask(one, p) for p in asked]
    seen = list(one._live.values())
    assert [a.tokens for a in answers] == [naive(tiny_model(), p, 24, tiny_tokenizer.end_ids[0]) for p in asked]
    assert sum(s.preemptions for s in seen) > 0
    assert one._blocks.free == 12
    one._blocks.check([])


def test_prefixes_are_computed_once(engine, tiny_model, tiny_tokenizer) -> None:
    one = engine()
    head = prompts(1)[0] * 3
    head = (head * 40)[:40]
    first = ask(one, [*head, 1, 2, 3]).wait()
    second = ask(one, [*head, 4, 5])
    third = ask(one, [*head, 1, 2, 3])
    assert first.last.usage.cached_tokens == 0
    assert second.last.usage.cached_tokens == 40
    assert third.tokens == first.tokens
    assert second.tokens == naive(tiny_model(), [*head, 4, 5], 24, tiny_tokenizer.end_ids[0])
    exact = ask(one, head)
    assert exact.last.usage.cached_tokens == 32, "the last token is always computed"


def test_a_prefix_is_found_by_those_of_its_salt_alone(engine) -> None:
    one, head = engine(), (prompts(1)[0] * 40)[:40]

    def cached(salt: str) -> int:
        answer = Answer()
        one.submit(f"r{time.monotonic_ns()}", [*head, 1], GREEDY, answer, standing=Standing(salt=salt))
        answers.append(answer.wait().tokens)
        return answer.last.usage.cached_tokens

    answers: list[list[int]] = []
    assert [cached(salt) for salt in ("a", "a", "b", "b", "", "", "c")] == [0, 40, 0, 40, 0, 40, 0]
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(("int8", "kernels"), [(False, "torch"), (True, "torch"), (True, "compiled"), NATIVE])
def test_a_seeded_answer_does_not_depend_on_its_batch_mates(int8, kernels, engine, tiny_model) -> None:
    drawn = SamplingParams(temperature=0.9, top_p=0.95, seed=11, max_tokens=20)
    prompt = prompts(3)[2]
    alone = ask(engine(quantize(tiny_model()) if int8 else None, kernels=kernels), prompt, drawn).tokens
    busy = engine(quantize(tiny_model()) if int8 else None, kernels=kernels)
    others = [ask(busy, p, SamplingParams(temperature=1.0, max_tokens=40)) for p in prompts(7)]
    assert ask(busy, prompt, drawn).tokens == alone
    assert ask(busy, prompt, SamplingParams(temperature=0.9, seed=12, max_tokens=20)).tokens != alone
    for other in others:
        other.wait()


@pytest.mark.parametrize(("int8", "kernels"), [(True, "torch"), NATIVE])
def test_int8_engine_follows_the_int8_model(int8, kernels, engine, tiny_model) -> None:
    model = quantize(tiny_model())
    prompt = prompts(1)[0]
    with torch.inference_mode():
        expected = torch.log_softmax(model.logits(model(torch.tensor([prompt]))[0, -1]).float(), dim=-1)
    one = engine(model, kernels=kernels)
    chunk = ask(one, prompt, SamplingParams(temperature=0.0, max_tokens=1, logprobs=5)).chunks[0]
    top = chunk.logprobs[0]
    assert top.token == int(expected.argmax())
    assert top.logprob == pytest.approx(float(expected.max()), abs=0.02)


def test_stop_strings_span_tokens(engine) -> None:
    one = engine()
    prompt = prompts(4)[3]
    whole = ask(one, prompt).text
    assert len(whole) > 12
    for start in range(1, len(whole) - 4):
        stop = whole[start : start + 4]
        got = ask(one, prompt, SamplingParams(temperature=0.0, max_tokens=24, stop=(stop, "never this")))
        assert got.text == whole[: whole.index(stop)]
        assert got.last.finish_reason == "stop"
    unmatched = ask(one, prompt, SamplingParams(temperature=0.0, max_tokens=24, stop=(whole[-3:] + "?",)))
    assert unmatched.text == whole


def test_the_last_chunk_counts(engine, tiny_tokenizer) -> None:
    prompt = prompts(1)[0]
    answer = ask(engine(), prompt, SamplingParams(temperature=0.0, max_tokens=5, logprobs=3))
    assert [c.finish_reason for c in answer.chunks] == [None] * 4 + ["length"]
    assert all(c.usage is None for c in answer.chunks[:-1])
    assert answer.last.usage.prompt_tokens == len(prompt)
    assert answer.last.usage.completion_tokens == 5
    logprobs = [entry for c in answer.chunks for entry in c.logprobs]
    assert len(logprobs) == 5
    assert answer.last.mean_logprob == pytest.approx(sum(e.logprob for e in logprobs) / 5, abs=1e-5)
    assert answer.last.mean_entropy > 0
    for entry in logprobs:
        assert len(entry.top) == 3
        assert entry.top[0][1] == pytest.approx(entry.logprob)  # greedy: the chosen one is the likeliest
        assert entry.text == tiny_tokenizer.decode([entry.token])
    assert {c.version for c in answer.chunks} == {"v1"}


def test_end_token_ends_and_is_not_shown(engine, tiny_model, tiny_tokenizer) -> None:
    prompt = prompts(2)[1]
    first = naive(tiny_model(), prompt, 3, tiny_tokenizer.end_ids[0])
    answer = ask(engine(generation={"eos_token_id": [first[2]]}), prompt)
    assert answer.tokens == first[:2]
    assert answer.last.finish_reason == "stop"
    assert answer.last.usage.completion_tokens == 3


def test_abort_frees_everything(engine) -> None:
    one = engine(max_sequences=2)
    answers = [
        ask(one, p, SamplingParams(temperature=0.0, max_tokens=90), id=f"a{i}") for i, p in enumerate(prompts(6))
    ]
    while not answers[0].items:
        time.sleep(0.001)
    for i in range(6):
        one.abort(f"a{i}")
    one.abort("unknown")
    deadline = time.monotonic() + 5
    while one._live and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not one._live
    assert one._blocks.free == one._blocks.total
    before = [len(a.items) for a in answers]
    time.sleep(0.05)
    assert [len(a.items) for a in answers] == before
    assert ask(one, prompts(1)[0]).last.finish_reason == "length"


def test_one_bad_sequence_is_alone_with_its_error(engine, tiny_model, tiny_tokenizer, monkeypatch) -> None:
    one = engine()
    decode = one._runner.decode

    def broken(tokens, places):
        if any(place.stored > 70 for place in places):
            raise RuntimeError("boom")
        return decode(tokens, places)

    monkeypatch.setattr(one._runner, "decode", broken)
    good, bad = prompts(3, longest=30), list(range(60))
    answers = [ask(one, p) for p in good]
    failing = ask(one, bad)
    with pytest.raises(LaminaError, match="failed"):
        _ = failing.chunks
    assert [a.tokens for a in answers] == [naive(tiny_model(), p, 24, tiny_tokenizer.end_ids[0]) for p in good]
    assert one._blocks.free == one._blocks.total


def test_requests_that_cannot_be_answered_are_refused_at_once(engine) -> None:
    one = engine(queue_tokens=100)
    with pytest.raises(InputError, match="context") as raised:
        ask(one, [1] * 160)
    assert raised.value.code == "context_length_exceeded"
    with pytest.raises(InputError, match="at most 10"):
        ask(one, [1] * 150, SamplingParams(max_tokens=11))
    for prompt, sampling in (
        ([], GREEDY),
        ([10**6], GREEDY),
        ([1], SamplingParams(max_tokens=0)),
        ([1], SamplingParams(temperature=-1.0)),
        ([1], SamplingParams(temperature=float("nan"))),
        ([1], SamplingParams(top_p=0.0)),
        ([1], SamplingParams(top_k=0)),
        ([1], SamplingParams(logprobs=21)),
    ):
        with pytest.raises(InputError):
            ask(one, prompt, sampling)
    with one._wake:  # the engine stands still while the queue fills
        ask(one, [1] * 90)
        with pytest.raises(BusyError):
            ask(one, [1] * 90)


def test_a_prompt_that_only_memory_refuses_is_told_so(engine) -> None:
    one = engine()
    one.adapt(Change(blocks=5))
    deadline = time.monotonic() + 10
    while one.context != 40 and time.monotonic() < deadline:
        time.sleep(0.005)
    with pytest.raises(InputError, match="context of 40") as raised:
        ask(one, [1] * 60)
    assert "short of memory, ask again later" in raised.value.hint
    one.adapt(Change(blocks=one.cache().total))
    while one.context != 160 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert ask(one, [1] * 60).tokens


def test_an_answer_that_must_be_longer_than_usual_is(engine) -> None:
    one = engine(generation={"max_new_tokens": 5})
    assert len(ask(one, [1, 2], SamplingParams(temperature=0.0, ignore_eos=True)).tokens) == 5
    assert len(ask(one, [1, 2], SamplingParams(temperature=0.0, min_tokens=9, ignore_eos=True)).tokens) == 9


def test_a_request_that_was_made_before_the_cache_shrank_gets_what_is_left(engine, monkeypatch) -> None:
    one = engine()
    prepare = one._prepare

    def late(*given: object) -> None:
        prepare(*given)
        one.adapt(Change(blocks=5))
        deadline = time.monotonic() + 20
        while one.context != 40 and time.monotonic() < deadline:
            time.sleep(0.01)

    monkeypatch.setattr(one, "_prepare", late)
    asked = SamplingParams(temperature=0.0, max_tokens=100, ignore_eos=True)
    assert len(ask(one, [1] * 10, asked).tokens) == 30


def test_an_answer_fills_the_context_and_ends(engine) -> None:
    answer = ask(engine(), [3] * 130, SamplingParams(temperature=0.0, seed=1))
    assert answer.last.finish_reason in ("length", "stop")
    assert answer.last.usage.completion_tokens <= 30


def test_idle_engine_sleeps(engine) -> None:
    one = engine()
    ask(one, [1, 2, 3]).wait()
    time.sleep(0.1)
    before, start = time.process_time(), time.monotonic()
    time.sleep(0.5)
    assert (time.process_time() - before) / (time.monotonic() - start) < 0.05
    assert one.load().step_age is None


def test_closing_ends_what_runs_with_an_error(engine) -> None:
    one = engine()
    answer = ask(one, [1, 2, 3], SamplingParams(temperature=1.0, max_tokens=150))
    one.close()
    answer.wait()
    with pytest.raises(BusyError):
        ask(one, [1])
