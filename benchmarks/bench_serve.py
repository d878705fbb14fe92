"""The server around the engine: `bench_serve.py [overhead] [overload] [poisson] [--rate …] [--quick] [--json]`.

overhead  processor time of the server's process for each streamed token, an engine that computes nothing behind the
          API: 16 streams of 128 tokens at once, again and again; against the limit of 0.2 ms
overload  SmolLM2-135M-Instruct (int8) behind the API: whole answers a second that keep their objective, offered three
          times what 32 clients that wait get out of it, against that; waits of at most 5 s for a turn
poisson   the same model against llama.cpp's own server, each over HTTP (`serve_poisson.py`): what 16 clients that wait
          get, then Poisson arrivals at a rate that both can keep up with (or at each ``--rate``, requests a second)

The server is a process of its own (`serve_side.py`), the load comes from this one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import serve_poisson  # beside this file
from bench_engine import served
from machine import machine, versions_of
from sides import Side

from lamina.deployment.load.arrivals import Lengths, poisson
from lamina.deployment.load.client import Asked, Target
from lamina.deployment.load.generator import closed_loop, open_loop
from lamina.deployment.load.objective import Objective
from lamina.deployment.load.summary import summarize
from lamina.deployment.load.work import Synthetic

LIMIT_MS = 0.2
STREAMS, TOKENS = 16, 128
MAX_WAIT_S = 5.0
OVERLOAD = 3.0
OBJECTIVE = Objective(ttft=MAX_WAIT_S + 3.0)
VERSIONS = ("lamina", "torch", "uvicorn", "h11", "starlette")


def side(*arguments: str) -> Side:
    return Side([sys.executable, "benchmarks/serve_side.py", *arguments])


def requests(prompt: str, answer: str, seed: int) -> Iterator[Asked]:
    made = Synthetic(
        prompt=Lengths.read(prompt, where=""), answer=Lengths.read(answer, where=""), model="champion", frame=20.0
    )
    return made.requests(seed)


def overhead(quick: bool) -> list[dict[str, Any]]:
    """Processor milliseconds a token."""
    seconds, runs = (4.0, 2) if quick else (10.0, 5)
    server = side("noop")
    found: list[float] = []
    try:
        for run in range(runs + 1):
            before = server.turn(0)
            load = closed_loop(
                Target(before["url"]),
                requests("32", str(TOKENS), run),
                clients=STREAMS,
                seconds=seconds,
                most=10_000,
                timeout_s=60.0,
            )
            outcomes = asyncio.run(load)
            after = server.turn(0)
            assert all(o.error is None for o in outcomes), {o.error for o in outcomes}
            if run:  # the first is not counted
                spent = after["cpu_s"] - before["cpu_s"]
                found.append(1000.0 * spent / sum(o.generated for o in outcomes))
    finally:
        server.close()
    median = statistics.median(found)
    return [
        {
            "work": f"overhead of the server, {STREAMS} streams of {TOKENS} tokens",
            "peer": "limit",
            "ours": median,
            "theirs": LIMIT_MS,
            "ratio": LIMIT_MS / median,
            "unit": "ms of processor time a token",
            "runs": runs,
            "spread": f"{min(found):.3f}-{max(found):.3f} ms",
            "quality": "whole requests, their beginnings and ends included",
            "versions": versions_of(*VERSIONS),
            "machine": machine(),
        }
    ]


def overload(quick: bool) -> list[dict[str, Any]]:
    """Goodput at three times the capacity."""
    seconds, runs = (20.0, 1) if quick else (60.0, 3)
    prompt, answer = ("64", "32") if quick else ("128", "64")
    server = side(str(served("int8")), f"max_wait={MAX_WAIT_S}")
    ratios, capacities, goodputs, worst, grown, waits, refused = [], [], [], [], [], [], 0
    try:
        for run in range(runs):
            target = Target(server.turn(0)["url"])
            crowd = asyncio.run(
                closed_loop(
                    target, requests(prompt, answer, 2 * run), clients=32, seconds=seconds, most=10_000, timeout_s=60.0
                )
            )
            capacity = summarize(crowd, seconds=seconds, objective=Objective())["completed_per_s"]
            times = poisson(OVERLOAD * capacity, seconds, np.random.default_rng(run), most=50_000)
            asked = list(islice(requests(prompt, answer, 2 * run + 1), len(times)))
            before = server.turn(0)  # caches have their size by now
            outcomes = asyncio.run(open_loop(target, asked, times, timeout_s=60.0, most=4096))
            figures = summarize(outcomes, seconds=seconds, objective=OBJECTIVE)
            assert set(figures["errors"]) <= {"429"}, figures["errors"]
            capacities.append(capacity)
            goodputs.append(figures["goodput_per_s"])
            ratios.append(figures["goodput_per_s"] / capacity)
            worst.append(figures["ttft"]["p99"])
            waits.append(figures["retry_after"].get("p50", 0.0))
            refused += figures["errors"].get("429", 0)
            grown.append(server.turn(0)["rss_mb"] - before["rss_mb"])
    finally:
        server.close()
    return [
        {
            "work": f"overload, {OVERLOAD:g} times the capacity, {prompt} in, {answer} out",
            "peer": "the same server at its capacity",
            "ours": statistics.median(goodputs),
            "theirs": statistics.median(capacities),
            "ratio": statistics.median(ratios),
            "unit": "good answers/s",
            "runs": runs,
            "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
            "quality": f"first token p99 {max(worst):.1f} s; {refused} refused, Retry-After {max(waits):.1f} s (p50);"
            f" memory {max(grown):+.0f} MB",
            "versions": versions_of(*VERSIONS),
            "machine": machine(),
        }
    ]


WORK = {"overhead": overhead, "overload": overload, "poisson": serve_poisson.rows}


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=list(WORK))
    parser.add_argument("--rate", nargs="+", type=float, default=[], help="of poisson alone")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.rows) - set(WORK):
        parser.error(f"known rows: {', '.join(WORK)}")
    for name in arguments.rows or list(WORK):
        more = {"rates": arguments.rate} if name == "poisson" else {}
        for row in WORK[name](arguments.quick, **more):
            told = f"{row['work']}: {row['ours']:.3g} against {row['theirs']:.3g} {row['unit']}, {row['ratio']:.2f}"
            sys.stdout.write((json.dumps(row) if arguments.json else f"{told} ({row['quality']})") + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
