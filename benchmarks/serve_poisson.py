"""The row `poisson` of bench_serve.py: our server and another one, each over HTTP, under the same load in turns.

SmolLM2-135M-Instruct, ours in int8 with 16 sequences at once, llama.cpp's own server with Q8_0 and 16 slots; the load
comes from one generator, with the same prompts at the same times: about 256 tokens in, 128 out.

First 16 clients that wait, which gives what each server can do; then Poisson arrivals at 0.8 of the lower of the two
capacities (or at the rates that were asked for), so that both can keep up. Both may keep what prompts have in common:
that is the frame around a chat, no more.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from bench_engine import served  # beside this file
from engine_peers import PEERS, open_side, version_of
from machine import machine, versions_of
from sides import Side

from lamina.deployment.load.arrivals import Lengths, poisson
from lamina.deployment.load.client import Asked, Target
from lamina.deployment.load.generator import closed_loop, open_loop
from lamina.deployment.load.objective import Objective
from lamina.deployment.load.outcome import Outcome
from lamina.deployment.load.summary import summarize
from lamina.deployment.load.work import Synthetic

HERE = Path(__file__).resolve().parent
CLIENTS, PROMPT, ANSWER = 16, 256, 128
FRAME = 30.0  # tokens that SmolLM2's template puts around a chat
SHARE = 0.8  # of the lower capacity
OBJECTIVE = Objective(ttft=2.0, itl=0.2)  # 5 tokens a second: about as fast as people read
TIMEOUT_S = 300.0
PEER = PEERS["q8"]
WORDS = f"{PROMPT} in, {ANSWER} out"
VERSIONS = ("lamina", "torch", "uvicorn", "h11", "starlette")
#: What both servers are told beyond the request: ours keeps beginnings always, theirs where it is asked to.
EXTRA = {"cache_prompt": True}

Pair = tuple[dict[str, Any], dict[str, Any]]  # figures of a turn, ours and theirs


@dataclass(frozen=True, slots=True)
class Size:
    """``seconds`` in which clients ask again, about so many ``requests`` of each open loop, ``runs`` of both."""

    seconds: float
    requests: int
    runs: int


QUICK, WHOLE = Size(20.0, 20, 1), Size(60.0, 100, 3)


def rows(quick: bool, rates: Sequence[float] = ()) -> list[dict[str, Any]]:
    """The capacity, and the wait for the first token at each rate."""
    threads = len(os.sched_getaffinity(0))
    sides = open_servers(threads)
    try:
        targets = [Target(side.turn(0)["url"]) for side in sides]
        found = measured(targets, QUICK if quick else WHOLE, rates)
    finally:
        for side in sides:
            side.close()
    more = {
        "peer": f"{PEER.words}, its server",
        "versions": versions_of(*VERSIONS) | version_of(PEER),
        "machine": f"{machine()}; {threads} threads",
    }
    return [row | more for row in found]


def open_servers(threads: int) -> tuple[Side, Side]:
    """Ours, theirs."""
    ours = [sys.executable, str(HERE / "serve_side.py"), str(served(PEER.ours)), f"max_sequences={CLIENTS}"]
    theirs = open_side("q8", CLIENTS, threads)  # first: it may not be installed
    return Side(ours, threads), theirs


def measured(targets: Sequence[Target], size: Size, rates: Sequence[float]) -> list[dict[str, Any]]:
    """The rows of what answers at ``targets``, ours and theirs."""
    for target in targets:  # the first answers are not counted
        crowd(target, requests(0, answer=16), size.seconds, most=CLIENTS)
    pairs = [in_turns(crowd(t, requests(1 + run), size.seconds) for t in targets) for run in range(size.runs)]
    found = [capacity_row(pairs)]
    chosen = {f"{rate:g}/s": rate for rate in rates} or {f"{SHARE:g} of the lower capacity": rate_for(pairs)}
    for place, (words, rate) in enumerate(chosen.items(), start=1):
        streams = [1000 * place + run for run in range(size.runs)]
        pairs = [in_turns(arrivals(t, rate, size.requests, stream) for t in targets) for stream in streams]
        found.append(first_token_row(words, rate, pairs))
    return found


def in_turns(figures: Iterator[dict[str, Any]]) -> Pair:
    """One side after the other."""
    ours, theirs = figures
    return ours, theirs


def requests(stream: int, answer: int = ANSWER) -> Iterator[Asked]:
    """Chats that no other ``stream`` holds."""
    made = Synthetic(
        prompt=Lengths(PROMPT, PROMPT), answer=Lengths(answer, answer), model="champion", frame=FRAME, extra=EXTRA
    )
    return made.requests(stream)


def crowd(target: Target, asked: Iterator[Asked], seconds: float, most: int = 10_000) -> dict[str, Any]:
    """16 clients that ask again as soon as they are answered, for ``seconds``; all that they asked counts.

    Until the last answer has ended: on a slow machine ``seconds`` may hold little but prompts.
    """
    load = closed_loop(target, asked, clients=CLIENTS, seconds=seconds, most=most, timeout_s=TIMEOUT_S)
    outcomes = asyncio.run(load)
    return figures(outcomes, max(outcome.ended for outcome in outcomes))


def arrivals(target: Target, rate: float, count: int, stream: int) -> dict[str, Any]:
    """About ``count`` requests, ``rate`` a second, at times that ``stream`` fixes."""
    seconds = count / rate
    times = poisson(rate, seconds, np.random.default_rng(stream), most=10 * count)
    asked = list(islice(requests(stream), len(times)))
    return figures(asyncio.run(open_loop(target, asked, times, timeout_s=TIMEOUT_S, most=4096)), seconds)


def figures(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Of a run in which nobody was refused, and all answers are as long as they should be.

    Whoever was given up counts with the time that he waited.
    """
    found = summarize(outcomes, seconds=seconds, objective=OBJECTIVE)
    said = next((o.said for o in outcomes if o.error not in (None, "timeout")), "")
    assert set(found["errors"]) <= {"timeout"}, f"{found['errors']} {said}"
    assert found["completed"], f"nothing was answered within {TIMEOUT_S:g} s"
    lengths = {o.generated for o in outcomes if o.error is None}
    assert len(lengths) == 1, f"an end token was not ignored: answers of {sorted(lengths)} tokens"
    return found


def rate_for(pairs: Sequence[Pair]) -> float:
    """Requests a second that both sides can keep up with."""
    return SHARE * min(statistics.median(side) for side in both(pairs, "output_tokens_per_s")) / ANSWER


def both(pairs: Sequence[Pair], *path: str) -> list[list[float]]:
    """A figure of every turn, of ours and of theirs."""
    found: list[list[float]] = [[], []]
    for pair in pairs:
        for values, told in zip(found, pair, strict=True):
            value: Any = told
            for name in path:
                value = value[name]
            values.append(float(value))
    return found


def against(pairs: Sequence[Pair], *path: str) -> str:
    """A figure in words, the median of ours and of theirs."""
    ours, theirs = (statistics.median(side) for side in both(pairs, *path))
    return f"{ours:.3g} against {theirs:.3g}"


def capacity_row(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Tokens of answers a second while 16 clients wait."""
    ours, theirs = both(pairs, "output_tokens_per_s")
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return row(f"{CLIENTS} clients that wait, over HTTP, {WORDS}", ours, theirs, ratios, "tokens/s") | {
        "quality": f"{held(pairs)}; first token p50 {against(pairs, 'ttft', 'p50')} s, between tokens p99"
        f" {against(pairs, 'itl', 'p99')} s"
    }


def first_token_row(words: str, rate: float, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Seconds from when a request was due to its first token, of a hundred the second worst."""
    ours, theirs = both(pairs, "ttft", "p99")
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    late = max(max(side) for side in both(pairs, "late_to_send", "p99"))
    good = " and ".join(f"{name} {1000 * bound:g} ms" for name, bound in OBJECTIVE.told().items())
    given_up = [sum(pair[place]["errors"].get("timeout", 0) for pair in pairs) for place in (0, 1)]
    return row(f"Poisson arrivals, {words}, {WORDS}: first token p99", ours, theirs, ratios, "s") | {
        "quality": f"{rate:.3g} requests/s; {held(pairs)}; first token p50 {against(pairs, 'ttft', 'p50')} s, between"
        f" tokens p99 {against(pairs, 'itl', 'p99')} s; {against(pairs, 'output_tokens_per_s')} output tokens/s;"
        f" within {good} {against(pairs, 'goodput_per_s')} answers/s; given up {given_up[0]} against {given_up[1]};"
        f" sent {1000 * late:.0f} ms late (p99)"
    }


def held(pairs: Sequence[Pair]) -> str:
    """What was the same for both: the lengths, as each server counts them."""
    prompts, answers = (against(pairs, name, "p50") for name in ("prompt_tokens", "completion_tokens"))
    return f"{PEER.ours} against {PEER.weights}, prompts {prompts} tokens, answers {answers}"


def row(work: str, ours: list[float], theirs: list[float], ratios: list[float], unit: str) -> dict[str, Any]:
    """The figures of a row."""
    return {
        "work": work,
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "unit": unit,
        "runs": len(ratios),
        "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
    }
