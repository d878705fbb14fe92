"""One stack file in control groups of 2, 4 and 8 GB: what its server holds at most, and whether an answer fails.

`python benchmarks/scale_memory.py [--seconds N]` starts `lamina serve` in each group and lets sixteen clients ask it,
each for an answer to a long prompt of its own. After half of the time the memory is to be three quarters.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import threading
import time
from contextlib import suppress

import openai
from bench_engine import served  # beside this file
from groups import Group
from machine import machine
from start_server import Server, stack_of

GB = 1 << 30
SIZES = (2, 4, 8)  # GB
CLIENTS, WORDS, TOKENS = 16, 600, 32  # a word is a number of two or three tokens; TOKENS of each answer
LESS = 0.75
PATIENCE_S = 60.0


def main() -> None:
    """A line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    stack = stack_of(served("int8"))
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}")
    for size in SIZES:
        with Group(f"{size}gb", processors=2, memory=size * GB) as group:
            server = Server(stack, threads=2)
            try:
                group.enter(server.pid)  # before it has loaded anything
                print(f"{size} GB: {asked(server.url(), group, size * GB, arguments.seconds)}", flush=True)
            finally:
                server.close()


def asked(url: str, group: Group, limit: int, seconds: float) -> str:
    """Sixteen clients for ``seconds``; what came of it."""
    answered: list[int] = []
    refused: list[int] = []
    failed: list[str] = []
    ended, numbers = threading.Event(), itertools.count()

    def ask() -> None:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=300)
        while not ended.is_set():
            number = next(numbers)
            draw = random.Random(number)
            text = " ".join(str(draw.randrange(100)) for _ in range(WORDS))
            try:
                client.completions.create(model="champion", prompt=text, max_tokens=TOKENS, temperature=0)
                answered.append(number)
            except openai.RateLimitError as error:
                refused.append(number)
                ended.wait(float(error.response.headers["retry-after"]))
            except openai.OpenAIError as error:
                failed.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(seconds / 2)
        first = group.most()
        followed = lowered(group, int(limit * LESS))
        time.sleep(seconds / 2)
        then = group.used()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    why = f": {', '.join(sorted(set(failed))[:3])}" if failed else ""
    return (
        f"{first / limit:.0%} of it held at most; three quarters of it {followed}, "
        f"{then / (limit * LESS):.0%} of these held at the end; {len(answered)} answers, {len(refused)} asked to come "
        f"again later, {len(failed)} failed{why}"
    )


def lowered(group: Group, target: int) -> str:
    """Bring the limit down as far as the kernel lets, which cannot take what is held; how that went."""
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < PATIENCE_S:
        size = max(target, int(1.05 * group.used()))
        with suppress(OSError):
            group.limit_memory(size)
            if size == target:
                return f"stood after {passed:.1f} s"
        time.sleep(0.2)
    return f"did not stand after {PATIENCE_S:.0f} s"


if __name__ == "__main__":
    main()
