"""Our side of the engine's benchmarks: `engine_ours.py FOLDER STREAMS`, asked by `sides.Side`.

The whole engine (scheduler, sampling, text) over the served folder, without guesses. `{"prompts": [[ids], …], "tokens":
n}`: all at once, greedy, n tokens each; seconds to the last first token, of the answers after it, and of all. `{"text":
[ids]}`: nats per token.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from sides import questions, tell  # beside this file
from torch.nn import functional as F

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.engine.cache import bytes_per_token
from lamina.deployment.engine.engine import Engine
from lamina.kit.errors import LaminaError
from lamina.kit.tokenizer import open_tokenizer

LONGEST = 2304  # tokens of a prompt and its answer, for as many streams as there are; the peers have that room, too


class Endless:
    """A tokenizer without an end token, so that all sides write the same number of tokens."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.end_ids: tuple[int, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Answer:
    """When the tokens of an answer came."""

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.done = threading.Event()

    def __call__(self, item: Chunk | LaminaError) -> None:
        self.stamps.append(time.perf_counter())
        if isinstance(item, LaminaError) or item.finish_reason:
            self.done.set()


def answer(engine: Engine, asked: dict[str, Any], number: int) -> dict[str, float]:
    """All prompts at once."""
    sampling = SamplingParams(temperature=0.0, max_tokens=asked["tokens"])
    answers = [Answer() for _ in asked["prompts"]]
    began = time.perf_counter()
    for i, (prompt, receive) in enumerate(zip(asked["prompts"], answers, strict=True)):
        engine.submit(f"{number}-{i}", prompt, sampling, receive)
    for one in answers:
        one.done.wait()
    ends = [one.stamps for one in answers]
    return {
        "prompt_s": max(stamps[0] for stamps in ends) - began,
        "answer_s": max(stamps[-1] - stamps[0] for stamps in ends),
        "all_s": max(stamps[-1] for stamps in ends) - began,
    }


def main() -> None:
    """Answer until nobody asks for more."""
    folder, streams = Path(sys.argv[1]), int(sys.argv[2])
    model = open_served(folder)
    kept: Any = None
    room = -(-streams * LONGEST * bytes_per_token(model, None) // 2**20)
    engine = Engine(
        model,
        Endless(open_tokenizer(folder)),
        version="bench",
        max_sequences=streams,
        cache_mb=room,
        queue_tokens=1_000_000,
        speculate=False,  # prompts that are no texts get answers that repeat themselves: all guesses would be right
    )
    for number, asked in enumerate(questions()):
        if "text" in asked:
            kept = kept or open_served(folder)
            ids = torch.tensor(asked["text"])
            with torch.inference_mode():
                scores = kept.logits(kept(ids[None]))[0]
            told: dict[str, Any] = {"nats": float(F.cross_entropy(scores[:-1].float(), ids[1:]))}
        else:
            told = answer(engine, asked, number)
        tell(told)


if __name__ == "__main__":
    main()
