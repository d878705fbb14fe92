"""One stack file in control groups of 2, 4 and 8 GB: what its server holds at most, and whether a request fails.

`python benchmarks/scale_memory.py [--seconds N]` starts `lamina serve` in each group and lets sixteen clients ask it,
each for an answer to a long prompt of its own, after half of the time with three quarters of the memory.
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
from groups import Group  # beside this file
from machine import machine, smollm2
from start_server import Server, stack_of

GB = 1 << 30
SIZES = (2, 4, 8)  # GB
CLIENTS, WORDS, TOKENS = 16, 1200, 32  # of each prompt and answer
LESS = 0.75


def main() -> None:
    """A line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    stack = stack_of(smollm2())
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}")
    for size in SIZES:
        with Group(f"{size}gb", processors=2, memory=size * GB) as group:
            server = Server(stack, threads=2)
            group.enter(server.pid)  # before it has loaded anything
            try:
                said = asked(server.url(), group, size * GB, arguments.seconds)
            finally:
                server.close()
        print(f"{size} GB: {said}")


def asked(url: str, group: Group, limit: int, seconds: float) -> str:
    """Sixteen clients for ``seconds``; what came of it."""
    counts = {"answered": 0, "failed": 0}
    ended, numbers = threading.Event(), itertools.count()

    def ask() -> None:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=8, timeout=300)
        while not ended.is_set():
            draw = random.Random(next(numbers))
            text = " ".join(str(draw.randrange(100)) for _ in range(WORDS // 2))
            try:
                client.completions.create(model="champion", prompt=text, max_tokens=TOKENS, temperature=0)
                counts["answered"] += 1
            except openai.OpenAIError as error:
                counts["failed"] += 1
                print(f"failed: {error}")

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    first = most_held(group, seconds / 2)
    followed = lowered(group, int(limit * LESS))
    then = most_held(group, seconds / 2)
    ended.set()
    for thread in threads:
        thread.join()
    return (
        f"{first / limit:.0%} of it held at most; three quarters of it stood after {followed:.1f} s, and "
        f"{then / (limit * LESS):.0%} of these were held at most; "
        f"{counts['answered']} answers, {counts['failed']} failed"
    )


def most_held(group: Group, seconds: float) -> int:
    """The most bytes that the group holds in the next ``seconds``, pages of files among them."""
    end, most = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        most = max(most, group.used())
        time.sleep(0.2)
    return most


def lowered(group: Group, target: int) -> float:
    """Bring the limit down as far as the kernel lets (what is held cannot be taken); the seconds until it stands."""
    begun = time.monotonic()
    while True:
        size = max(target, int(1.05 * group.used()))
        with suppress(OSError):
            group.limit_memory(size)
            if size == target:
                return time.monotonic() - begun
        time.sleep(0.2)


if __name__ == "__main__":
    main()
