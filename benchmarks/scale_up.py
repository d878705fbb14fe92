"""The same engine in control groups of one and of two processors, in turns: what the second brings.

`python benchmarks/scale_up.py [--rounds N]` prints a line for one stream and for eight; the engine is measured and set
in each group as `lamina serve` sets it. Wants a quiet machine: a quota is an upper bound, not a share.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from groups import Group
from machine import machine, smollm2
from sides import Side, questions, tell

WORK = {"1 stream": (1, 128), "8 streams": (8, 32)}  # sequences, tokens of each answer
PROMPT = 64


def main() -> None:
    """Two sides, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", help="the folder of a model: be a side")
    arguments = parser.parse_args()
    if arguments.side:
        side(Path(arguments.side))
        return
    from lamina.deployment.compress.quantize import save_served
    from lamina.model.checkpoint import open_model

    with tempfile.TemporaryDirectory() as folder, Group("one", processors=1) as one, Group("two", processors=2) as two:
        plain, served = smollm2(), Path(folder) / "served"
        save_served(open_model(plain), served, like=plain)
        sides = []
        for group in (one, two):
            sides.append(Side([sys.executable, __file__, "--side", str(served)]))
            group.enter(sides[-1].turn({"pid": True})["pid"])
        try:
            print(f"{machine()}; load {os.getloadavg()[0]:.1f}")
            for one_side in sides:
                print(one_side.turn({"fit": True})["said"])
            for name, (streams, tokens) in WORK.items():
                ratios = [turn(sides, streams, tokens) for _ in range(arguments.rounds)]
                print(f"{name}: {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})")
        finally:
            for one_side in sides:
                one_side.close()


def turn(sides: list[Side], streams: int, tokens: int) -> float:
    """How many times as fast the second side answers."""
    prompts = [[100 + (7 * n + i) % 40_000 for i in range(PROMPT)] for n in range(streams)]
    taken = [one.turn({"prompts": prompts, "tokens": tokens})["answer_s"] for one in sides]
    return taken[0] / taken[1]


def side(folder: Path) -> None:
    """Answer what is asked. Nothing is loaded before this process is in its group."""
    sys.stdin.readline()
    tell({"pid": os.getpid()})
    sys.stdin.readline()
    import torch
    from engine_ours import Endless, answer

    from lamina.deployment.compress.quantize import open_served
    from lamina.deployment.engine.engine import Engine
    from lamina.deployment.fit.fitter import Fitter, in_words
    from lamina.deployment.load.objective import Objective
    from lamina.kit.limits import allowed_threads
    from lamina.kit.tokenizer import open_tokenizer

    torch.set_num_threads(allowed_threads())
    model = open_served(folder)
    with tempfile.TemporaryDirectory() as kept:
        fitter = Fitter(Path(kept), goal=Objective(), given={})
        options: dict[str, Any] = fitter.options(model, {"speculate": False})
        tokenizer = Endless(open_tokenizer(folder))
        engine = Engine(model, tokenizer, version="bench", sole=True, **options)
        tell({"said": in_words(fitter.fit(engine, "bench"))})
    for number, asked in enumerate(questions()):
        tell(answer(engine, asked, number))


if __name__ == "__main__":
    main()
