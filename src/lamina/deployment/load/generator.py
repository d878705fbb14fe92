"""Sends requests: at times that were fixed before (open loop), or as many at once as somebody waits for (closed)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from lamina.deployment.load.client import Asked, Target, ask
from lamina.deployment.load.outcome import Outcome

Told = Callable[[Outcome], None]
_AHEAD_S = 0.05  # between the start of the clock and time 0
_REST_S = 1.0  # the longest pause after a refusal, of one who asks again and again


def _clock(ahead: float = 0.0) -> Callable[[], float]:
    """Seconds since time 0, which is ``ahead`` from now."""
    zero = time.perf_counter() + ahead
    return lambda: time.perf_counter() - zero


async def open_loop(
    target: Target,
    asked: Sequence[Asked],
    times: Sequence[float],
    *,
    timeout_s: float,
    most: int,
    told: Told = lambda outcome: None,
) -> list[Outcome]:
    """One of ``asked`` at each of ``times``, whatever became of those before; what became of each, in their order.

    ``most`` connections are open at once: a request that has to wait for one, or for this process, counts its latency
    from its time all the same. ``timeout_s`` after its time a request is given up.
    """
    clock, room = _clock(_AHEAD_S), asyncio.Semaphore(most)
    outcomes = [Outcome(number, at) for number, at in enumerate(times)]

    async def one(number: int) -> None:
        outcome = outcomes[number]
        try:
            async with asyncio.timeout(max(0.0, outcome.intended + timeout_s - clock())), room:
                await ask(target, asked[number], outcome, clock)
        except TimeoutError:
            outcome.fail("timeout")
            outcome.ended = clock()
        told(outcome)

    async with asyncio.TaskGroup() as group:
        for outcome in outcomes:
            await asyncio.sleep(max(0.0, outcome.intended - clock()))
            group.create_task(one(outcome.number))
    return outcomes


async def closed_loop(
    target: Target,
    asked: Iterator[Asked],
    *,
    clients: int,
    seconds: float,
    most: int,
    timeout_s: float,
    told: Told = lambda outcome: None,
) -> list[Outcome]:
    """``clients`` that ask again as soon as they are answered, for ``seconds`` or ``most`` requests together.

    What this says of throughput holds; what it says of latency leaves out whoever would have come meanwhile.
    """
    clock = _clock()
    outcomes: list[Outcome] = []

    async def client() -> None:
        while clock() < seconds and len(outcomes) < most:
            outcome = Outcome(len(outcomes), clock())
            outcomes.append(outcome)
            try:
                async with asyncio.timeout(timeout_s):
                    await ask(target, next(asked), outcome, clock)
            except TimeoutError:
                outcome.fail("timeout")
                outcome.ended = clock()
            told(outcome)
            if outcome.error is not None:
                await asyncio.sleep(min(outcome.retry_after or _REST_S, _REST_S))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return outcomes
