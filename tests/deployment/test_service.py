from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from lamina.contracts.chat import Message
from lamina.contracts.inference import Chunk, Request, SamplingParams
from lamina.deployment.engine.change import Change
from lamina.deployment.engine.ngrams import FILE, Ngrams, write_ngrams
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.seal import make_seal
from lamina.deployment.service import ServingService
from lamina.kit.database import Database
from lamina.kit.errors import CorruptError, InputError, NotFoundError
from lamina.recipes.stack import LEAST_CONTEXT

SHORT = SamplingParams(temperature=0.0, max_tokens=12)


@pytest.fixture
def registry(tmp_path, model_folder):
    with Database.open(tmp_path / "lamina.db") as database:
        registry = ModelRegistry(database, tmp_path / "models")
        for seed in (1, 2, 3):
            folder = model_folder(seed)
            registry.add(folder, role="documents", seal=make_seal(folder))
        registry.promote("v1", because="first")
        yield registry


@pytest.fixture
def serve(registry):
    made: list[ServingService] = []

    def make(**options) -> ServingService:
        made.append(ServingService(registry, cache_mb=4, poll_s=0.02, **options))
        return made[-1]

    yield make
    for service in made:
        service.close()


def request(number: int = 0, text: str = "the whale", **fields) -> Request:
    fields = {"messages": (Message("user", text),), "sampling": SHORT} | fields
    return Request(id=f"r{number}-{time.monotonic_ns()}", **fields)


async def collect(service: ServingService, asked: Request) -> list[Chunk]:
    return [chunk async for chunk in service.stream(asked)]


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_it_answers_from_the_champion(serve, registry) -> None:
    service = serve()
    chunks = asyncio.run(collect(service, request()))
    assert chunks[-1].finish_reason in ("stop", "length")
    assert {c.version for c in chunks} == {"v1"} == {service.version}
    by_alias = asyncio.run(collect(service, request(model="champion")))
    assert [c.tokens for c in by_alias] == [c.tokens for c in chunks]
    text, ids = (asyncio.run(collect(service, request(messages=(), prompt=p))) for p in ("the whale", (1, 5, 7)))
    assert text[-1].usage.prompt_tokens < chunks[-1].usage.prompt_tokens
    assert ids[-1].usage.prompt_tokens == 3


def test_what_a_version_takes_is_no_more_than_it_is_served_with(serve) -> None:
    whole, capped = serve(), serve(context=LEAST_CONTEXT)
    assert [capped.abilities(name).context for name in ("", "v1", "v2")] == [LEAST_CONTEXT] * 3, "v2 is not loaded"
    last = asyncio.run(collect(capped, request(messages=(), prompt="the whale")))[-1]
    assert last.finish_reason in ("stop", "length")
    assert whole.abilities().context == whole.context > 24
    whole._engines()["v1"]._admission.context = 40  # as when memory was taken from its cache
    assert whole.abilities().context == 40


def test_the_kind_of_keys_and_values_is_the_engines(serve) -> None:
    bytes_of = {}
    for cache in (None, "float16", "int8"):
        service = serve(cache=cache)
        assert asyncio.run(collect(service, request()))[-1].finish_reason in ("stop", "length")
        bytes_of[cache] = service._engines()["v1"].cache().block_bytes
    assert bytes_of["int8"] * 16 * 4 == bytes_of[None] * (16 + 4), "heads of 16, with a scale each"
    assert bytes_of["float16"] * 2 == bytes_of[None]


def test_a_version_has_the_ngrams_of_its_documents_where_they_are_whole(serve, tmp_path, caplog) -> None:
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.kit.tokenizer_identity import fingerprint

    plain = asyncio.run(collect(serve(), request()))
    tokenizer = fingerprint(open_tokenizer(serve()._registry.folder("v1")))
    stream, ends = np.asarray([1, 2, 3, 4] * 3, np.uint16), np.asarray([12])
    asked: list[str] = []

    def served(folder) -> Ngrams | None:
        service = serve(ngrams=lambda version: (asked.append(version.id), folder)[1])
        assert [c.tokens for c in asyncio.run(collect(service, request()))] == [c.tokens for c in plain]
        return service._engines()["v1"]._stepper._ngrams

    write_ngrams(tmp_path, stream, ends, tokenizer=tokenizer, vocabulary=200)
    assert served(tmp_path).follower([1, 2, 3]) == 4
    assert asked == ["v1"]
    assert served(None) is None
    assert served(tmp_path / "nowhere") is None
    assert "served without the n-grams" in caplog.messages[-1]
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-3])
    assert served(tmp_path) is None
    assert "does not hold" in caplog.messages[-1]
    write_ngrams(tmp_path, stream, ends, tokenizer="another", vocabulary=200)
    assert served(tmp_path) is None
    assert "another tokenizer" in caplog.messages[-1]


def test_other_versions_are_loaded_on_demand(serve, registry) -> None:
    service = serve()
    registry.set_alias("challenger", "v2")
    for name in ("challenger", "v2", "v3", "v1"):
        chunks = asyncio.run(collect(service, request(model=name)))
        assert {c.version for c in chunks} == {registry.resolve(name).id}
    assert len(service.loads()) == 2, "the champion and the last one asked for"
    with pytest.raises(NotFoundError):
        asyncio.run(collect(service, request(model="v9")))


def test_bad_requests(serve) -> None:
    service = serve()
    with pytest.raises(InputError) as raised:
        asyncio.run(collect(service, request(text="the whale " * 200)))
    assert raised.value.code == "context_length_exceeded"
    with pytest.raises(InputError):
        asyncio.run(collect(service, request(messages=())))
    with pytest.raises(InputError):
        asyncio.run(collect(service, request(sampling=SamplingParams(temperature=-1))))
    assert service.loads()["v1"].running == 0
    assert service._champion.users == 0


def test_closing_the_iterator_aborts(serve) -> None:
    service = serve()

    async def leave() -> None:
        stream = service.stream(request(sampling=SamplingParams(temperature=1.0, max_tokens=100)))
        await anext(stream)
        await stream.aclose()

    asyncio.run(leave())
    until(lambda: service.loads()["v1"].running == 0)
    assert service.loads()["v1"].cache_usage == 0.0
    assert service._champion.users == 0


def test_a_swap_drops_and_mixes_nothing(serve, registry) -> None:
    service = serve(max_sequences=4)
    alone = {v: asyncio.run(collect(service, request(model=v))) for v in ("v1", "v2", "v3")}
    expected = {v: "".join(c.text for c in chunks) for v, chunks in alone.items()}
    assert len(set(expected.values())) == 3
    versions: list[str] = []

    async def user(number: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            chunks = await collect(service, request(number))
            assert chunks[-1].finish_reason in ("stop", "length")
            (version,) = {c.version for c in chunks}
            assert "".join(c.text for c in chunks) == expected[version]
            versions.append(version)

    async def drill() -> None:
        stop = asyncio.Event()
        users = [asyncio.create_task(user(n, stop)) for n in range(8)]
        promote = partial(registry.promote, because="better")
        back = partial(registry.rollback, because="worse")
        for wanted, change in (("v2", partial(promote, "v2")), ("v3", partial(promote, "v3")), ("v2", back)):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(change)
            deadline = time.monotonic() + 20
            while service.version != wanted or wanted not in versions[-8:]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*users)

    asyncio.run(drill())
    assert set(versions) == {"v1", "v2", "v3"}
    until(lambda: list(service.loads()) == ["v2"])


EVENTS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 5), st.integers(40, 100)),  # a prompt, and so many tokens
    st.tuples(st.just("leave"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("promote"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("limit"), st.integers(17, 30), st.just(0)),  # blocks of 8 tokens; the longest answer needs 17
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, min_size=8, max_size=18))
def test_arrivals_aborts_preemptions_and_swaps_mix_nothing_and_leak_nothing(serve, registry, alone, events) -> None:
    service, engines, asked = serve(block_tokens=8, max_sequences=4), set(), []

    async def drill() -> None:
        def ask(number: int, size: int) -> None:
            asked.append((asyncio.create_task(tokens_of(service, number, size)), number, size))

        for what, number, size in events:
            if what == "ask":
                for other in range(3):
                    ask((number + other) % 6, size)
            elif what == "leave" and number < len(asked):
                asked[number][0].cancel()
            elif what == "promote":
                await asyncio.to_thread(registry.promote, f"v{number}", because="an event")
                async with asyncio.timeout(20):
                    while service.version != f"v{number}":  # somebody is being answered when it changes
                        ask(len(asked) % 6, 60)
                        await asyncio.sleep(0.03)
            elif what == "limit":
                service._champion.serving.adapt(Change(blocks=number))
            engines.add(service._champion.serving)
            await asyncio.sleep(0.004)
        for task, number, size in asked:
            with suppress(asyncio.CancelledError):
                version, tokens = await asyncio.wait_for(task, 20)
                assert tokens == alone[version, number][:size]

    asyncio.run(drill())
    until(lambda: list(service.loads()) == [service.version] and not service._champion.users)
    for engine in engines:
        until(lambda e=engine: not (e._live if e is service._champion.serving else e._thread.is_alive()))
        with engine._wake:  # whoever ended has been taken out whole
            engine._blocks.check([])


@pytest.fixture
def alone(serve) -> dict[tuple[str, int], list[int]]:
    """The answers to six prompts by each version, with nobody beside them."""
    service = serve()
    return {(v, n): asyncio.run(tokens_of(service, n, 100, model=v))[1] for v in ("v1", "v2", "v3") for n in range(6)}


async def tokens_of(service: ServingService, number: int, size: int, **fields) -> tuple[str, list[int]]:
    """The version that answers a prompt, and its answer of ``size`` tokens."""
    prompt = tuple((17 * number + 5 * k) % 250 + 3 for k in range(2 + 6 * number))
    sampling = SamplingParams(temperature=0.0, max_tokens=size, ignore_eos=True)
    chunks = await collect(service, request(messages=(), prompt=prompt, sampling=sampling, **fields))
    return "".join({c.version for c in chunks}), [token for c in chunks for token in c.tokens]


def test_a_damaged_champion_is_not_served(serve, registry, tmp_path) -> None:
    service = serve()
    weights = registry.folder("v2") / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 4
    weights.write_bytes(data)
    registry.promote("v2", because="better")
    until(lambda: service.failure is not None)
    assert isinstance(service.failure, CorruptError)
    assert "model.safetensors" in str(service.failure)
    assert {c.version for c in asyncio.run(collect(service, request()))} == {"v1"}
    registry.promote("v3", because="whole")
    until(lambda: service.version == "v3")
    until(lambda: service.failure is None)
    registry.promote("v2", because="again")
    with pytest.raises(CorruptError):
        serve()


def test_metrics_have_the_names_that_dashboards_know(serve) -> None:
    metrics = CollectorRegistry()
    service = serve(metrics=metrics)
    last = asyncio.run(collect(service, request()))[-1]

    def value(name: str, **labels: str) -> float | None:
        return metrics.get_sample_value(f"lamina:{name}", labels)

    assert [value(n) for n in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")] == [0, 0, 0]
    assert value("prompt_tokens_total", model_name="v1") == last.usage.prompt_tokens
    assert value("generation_tokens_total", model_name="v1") == last.usage.completion_tokens
    assert value("request_success_total", model_name="v1", finished_reason=str(last.finish_reason)) == 1
    assert value("time_to_first_token_seconds_count", model_name="v1") == 1
    assert value("inter_token_latency_seconds_count", model_name="v1") == last.usage.completion_tokens - 1
    assert value("e2e_request_latency_seconds_count", model_name="v1") == 1


def test_without_a_champion_there_is_no_service(tmp_path) -> None:
    with Database.open(tmp_path / "other.db") as database, pytest.raises(NotFoundError):
        ServingService(ModelRegistry(database, tmp_path / "models"))
