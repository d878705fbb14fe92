"""The load generator against a small server whose delays are known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import repeat

import numpy as np
import pytest

from lamina.deployment.load.arrivals import Lengths, poisson
from lamina.deployment.load.client import Asked, Target
from lamina.deployment.load.generator import closed_loop, open_loop
from lamina.deployment.load.objective import Objective
from lamina.deployment.load.outcome import Outcome
from lamina.deployment.load.summary import percentiles, summarize
from lamina.deployment.load.work import Synthetic, drawn, read_requests
from lamina.kit.errors import InputError

ASKED = Asked("/chat/completions", {"messages": [{"role": "user", "content": "a"}]})


class Slow:
    """Answers one request after another, ``work_s`` each: ``tokens`` pieces, then usage. It stalls once, at request
    number ``stall_at``, for a second; ``answer`` may replace what is sent."""

    def __init__(self, work_s: float = 0.0, tokens: int = 3, stall_at: int | None = None) -> None:
        self.work_s, self.tokens, self.stall_at = work_s, tokens, stall_at
        self.answer: bytes | None = None
        self.seen: list[dict] = []
        self.open = self.most_open = 0
        self._turn = asyncio.Lock()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.seen.append(json.loads(await reader.readexactly(size)))
            number = len(self.seen)
            async with self._turn:
                await self._reply(writer, number)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, number: int) -> None:
        if number == self.stall_at:
            await asyncio.sleep(1.0)
        if self.answer is not None:
            writer.write(self.answer)
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for place in range(self.tokens):
            await asyncio.sleep(self.work_s / self.tokens)
            chunk = {"choices": [{"index": 0, "delta": {"content": f"w{place}"}}]}
            writer.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            await writer.drain()
        usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": self.tokens}}
        writer.write(b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")
        await writer.drain()


def loaded(server: Slow, load: Callable[[Target], object]) -> list[Outcome]:
    async def run() -> list[Outcome]:
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with listening:
            return await load(Target(f"http://127.0.0.1:{port}"))

    return asyncio.run(run())


def at(times: list[float], *, timeout_s: float = 20.0, most: int = 1000) -> Callable[[Target], object]:
    return lambda target: open_loop(target, [ASKED] * len(times), times, timeout_s=timeout_s, most=most)


def ttft(outcomes: list[Outcome]) -> dict[str, float]:
    return percentiles(o.ttft for o in outcomes)


def test_a_stall_stands_in_the_percentiles_although_only_one_request_met_it() -> None:
    """A server of 4 ms a request that stalls for one second, at a quarter of its rate: everybody who came meanwhile
    waited, and counts. A client that waits for its answer sees one slow request in hundreds."""
    times = poisson(60.0, 3.0, np.random.default_rng(0), most=10_000)
    opened = loaded(Slow(work_s=0.004, stall_at=60), at(times))
    assert all(o.error is None for o in opened)
    assert 0.8 < ttft(opened)["p99"] < 2.0
    assert ttft(opened)["p90"] > 0.3
    closed = loaded(
        Slow(work_s=0.004, stall_at=60),
        lambda target: closed_loop(target, repeat(ASKED), clients=1, seconds=60.0, most=200, timeout_s=20.0),
    )
    assert len(closed) == 200
    assert ttft(closed)["p99"] < 0.5
    assert ttft(closed)["max"] > 0.8


def test_waiting_for_a_connection_counts() -> None:
    server = Slow(work_s=0.03)
    outcomes = loaded(server, at([0.0] * 8, most=1))
    assert server.most_open == 1
    assert [o.sent - o.intended > 0.02 * o.number for o in outcomes] == [True] * 8
    assert outcomes[-1].ttft > 7 * 0.03


def test_every_time_is_told() -> None:
    (one,) = loaded(Slow(work_s=0.15), at([0.2]))
    assert one.sent >= 0.2
    assert 0.04 < one.ttft < 0.15
    assert one.e2e >= 0.14
    assert [gap > 0.02 for gap in one.gaps] == [True, True]
    assert (one.prompt_tokens, one.generated, len(one.tokens)) == (7, 3, 3)
    assert one.per_token == pytest.approx(sum(one.gaps) / 2)


def sse(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body


REFUSED = b'{"error":{"message":"full"}}'
BAD = {
    "429": b"HTTP/1.1 429 x\r\nretry-after: 3\r\nretry-after-ms: 2500\r\ncontent-length: 28\r\n\r\n" + REFUSED,
    "500": b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
    "cut": sse(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'),
    "error event": sse(b'data: {"error":{"message":"the model failed"}}\n\ndata: [DONE]\n\n'),
    "no JSON": sse(b"data: {\n\ndata: [DONE]\n\n"),
    "protocol": b"what?\r\n\r\n",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_went_wrong_is_counted_by_kind(kind) -> None:
    server = Slow()
    server.answer = BAD[kind]
    (one,) = loaded(server, at([0.0]))
    assert one.error == kind or (kind == "500" and one.error == "no JSON")
    assert one.retry_after == (2.5 if kind == "429" else None)
    figures = summarize([one], seconds=1.0, objective=Objective())
    assert (sum(figures["errors"].values()), figures["completed"], figures["good"]) == (1, 0, 0)


def test_nobody_listens_and_nobody_answers() -> None:
    async def nowhere(target: Target) -> list[Outcome]:
        return await open_loop(Target("http://127.0.0.1:1"), [ASKED], [0.0], timeout_s=5.0, most=1)

    assert loaded(Slow(), nowhere)[0].error == "connection"
    (late,) = loaded(Slow(work_s=5.0), at([0.1], timeout_s=0.3))
    assert late.error == "timeout"
    assert 0.25 < late.e2e < 1.0
    figures = summarize([late], seconds=1.0, objective=Objective())
    assert figures["e2e"]["p99"] == pytest.approx(late.e2e)  # given up counts: it was at least so long


def outcome(number: int, first: float, gap: float, *, error: str | None = None) -> Outcome:
    made = Outcome(number, intended=float(number), sent=float(number), status=200, error=error)
    made.tokens.extend(number + first + gap * place for place in range(5))
    made.completion_tokens, made.ended = 5, made.tokens[-1]
    return made


def test_goodput_counts_whole_answers_that_kept_their_times() -> None:
    outcomes = [
        *(outcome(n, 0.1, 0.01) for n in range(6)),
        outcome(6, 0.4, 0.01),  # late to begin
        outcome(7, 0.1, 0.09),  # slow between tokens
        outcome(8, 0.1, 0.01, error="cut"),
        outcome(9, 2.0, 0.01),  # ends after the stretch
    ]
    slo = Objective.read("ttft=300ms, itl=50ms", where="--slo")
    figures = summarize(outcomes, seconds=10.0, objective=slo)
    assert (figures["completed"], figures["good"]) == (9, 6)
    assert figures["goodput_per_s"] == pytest.approx(0.6)
    assert figures["completed_per_s"] == pytest.approx(0.8)
    assert figures["output_tokens_per_s"] == pytest.approx(40 / 10)
    assert figures["errors"] == {"cut": 1}
    assert figures["ttft"]["p50"] == pytest.approx(0.1)
    assert summarize(outcomes, seconds=20.0, objective=Objective())["good"] == 9


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([]) == {}
    found = percentiles(float(n) for n in range(1, 201))
    assert (found["p50"], found["p99"], found["max"], found["mean"]) == (100.0, 198.0, 200.0, 100.5)
    assert percentiles([3.0])["p99"] == 3.0


def test_arrivals_are_poisson_and_bounded() -> None:
    times = poisson(200.0, 50.0, np.random.default_rng(1), most=100_000)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times == sorted(times)
    assert times[-1] < 50.0
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # of an exponential distribution they are the same
    assert len(poisson(1e4, 1e6, np.random.default_rng(1), most=50)) == 50


def test_lengths_are_drawn_as_they_are_written() -> None:
    generator = np.random.default_rng(0)
    assert {Lengths.read("256", where="x").draw(generator) for _ in range(9)} == {256}
    even = [Lengths.read("3-5", where="x").draw(generator) for _ in range(200)]
    assert set(even) == {3, 4, 5}
    spread = [Lengths.read("100~0.5", where="x").draw(generator) for _ in range(2000)]
    assert np.median(spread) == pytest.approx(100, rel=0.1)
    assert np.log(spread).std() == pytest.approx(0.5, rel=0.1)
    for wrong in ("", "0", "5-3", "-1", "3~", "a", "1-9999999"):
        with pytest.raises(InputError):
            Lengths.read(wrong, where="--prompt-tokens")


@pytest.mark.parametrize("text", ["ttft", "ttft=1", "speed=1s", "ttft=1s,ttft=2s", "ttft=fast"])
def test_an_objective_that_cannot_be_is_refused(text) -> None:
    with pytest.raises(InputError):
        Objective.read(text, where="--slo")


def first(source: Iterator[Asked], count: int = 3) -> list[dict]:
    return [next(source).body for _ in range(count)]


def test_made_requests_have_their_lengths_and_share_no_beginning() -> None:
    made = Synthetic(
        prompt=Lengths.read("120", where="x"), answer=Lengths.read("9", where="x"), model="m", per_word=2.0, frame=20.0
    )
    bodies = first(made.requests(0), 20)
    assert {len(b["messages"][0]["content"].split()) for b in bodies} == {50}
    assert len({tuple(b["messages"][0]["content"].split()[:8]) for b in bodies}) == 20
    assert {(b["max_tokens"], b["stream"], b["ignore_eos"]) for b in bodies} == {(9, True, True)}
    assert bodies == first(made.requests(0), 20)
    assert bodies != first(made.requests(1), 20)


def test_requests_of_a_file(tmp_path) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text('{"prompt": "a", "max_tokens": 3}\n\n{"messages": [], "model": "other", "stream": false}\n')
    completion, chat = read_requests(file, model="m")
    assert (completion.route, completion.body["model"], completion.body["stream"]) == ("/completions", "m", True)
    assert (chat.route, chat.body["model"], chat.body["stream"]) == ("/chat/completions", "other", True)
    some = first(drawn([completion, chat], seed=0), 40)
    assert sum("prompt" in body for body in some) == 20
    for text in ("{", "[]", '{"model": "x"}', "", '{"prompt": "a", "messages": []}'):
        file.write_text(text)
        with pytest.raises(InputError):
            read_requests(file, model="m")


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://a", "http://", "http://a/?q=1"])
def test_an_address_that_cannot_be_is_refused(url) -> None:
    with pytest.raises(InputError):
        Target(url)


def test_addresses() -> None:
    plain, secure = Target("http://a:80/"), Target("https://b/api/v1", key="k")
    assert (plain.host, plain.port, plain.path, plain.secure) == ("a", 80, "/v1", None)
    assert (secure.host, secure.port, secure.path) == ("b", 443, "/api/v1")
    head = secure.head("/completions", 3)
    assert head.target == b"/api/v1/completions"
    assert (b"authorization", b"Bearer k") in list(head.headers)
