"""Answering, against `transformers`: `bench_engine.py [decode] [--quick] [--json]`.

`decode`: SmolLM2-135M-Instruct, one stream, greedy, 64 tokens after a chat prompt of about 40, counted between the
first token and the last. Ours is the whole engine (scheduler, sampling, text) on int8 weights; the peer is `generate`
in bfloat16 with its key-value cache. In turns, pair by pair. `quality`: nats per token of both on the same text.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from machine import machine, smollm2  # beside this file
from torch.nn import functional as F

import lamina
from lamina.contracts.chat import Message
from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.compress.quantize import open_served, save_served
from lamina.deployment.engine.engine import Engine
from lamina.kit.errors import LaminaError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.checkpoint import open_model

QUESTION = "Write a short story about a lighthouse keeper who finds a letter in a bottle."
TEXT = (
    "The sea was calm that morning, and the keeper climbed the stairs of the lighthouse as he had done every day for "
    "thirty years. From the gallery he could see the harbour, the fishing boats, and far away the grey line of the "
    "mainland. Nothing ever changed here, he thought, and that was how he liked it."
)
TOKENS = 64


class Endless:
    """A tokenizer without an end token, so that both sides write the same number of tokens."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.end_ids: tuple[int, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def served(folder: Path) -> Path:
    """The int8 folder beside the full-precision one."""
    place = folder.parent / (folder.name + "-int8")
    if not (place / "config.json").is_file():
        save_served(open_model(folder), place, like=folder, quantize="int8")
    return place


def ours(folder: Path, ids: list[int]) -> Callable[[], float]:
    """Tokens a second of the engine."""
    engine = Engine(open_served(folder), Endless(open_tokenizer(folder)), version="bench", max_sequences=1)
    count = 0

    def run() -> float:
        nonlocal count
        count += 1
        stamps: list[float] = []
        done = threading.Event()

        def receive(item: Chunk | LaminaError) -> None:
            stamps.append(time.perf_counter())
            if isinstance(item, LaminaError) or item.finish_reason:
                done.set()

        engine.submit(f"r{count}", ids, SamplingParams(temperature=0.0, max_tokens=TOKENS), receive)
        done.wait()
        return (len(stamps) - 1) / (stamps[-1] - stamps[0])

    return run


class Stamps(transformers.generation.streamers.BaseStreamer):
    """When each token came; the first call brings the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def theirs(model: Any, ids: list[int]) -> Callable[[], float]:
    """Tokens a second of ``generate``."""
    model.generation_config.eos_token_id = None
    prompt = torch.tensor([ids])

    def run() -> float:
        stamps = Stamps()
        with torch.inference_mode():
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=TOKENS,
                do_sample=False,
                streamer=stamps,
                pad_token_id=0,
            )
        times = stamps.times[1:]
        return (len(times) - 1) / (times[-1] - times[0])

    return run


def nats(scores: torch.Tensor, ids: torch.Tensor) -> float:
    """Mean negative log-likelihood of ``ids`` (T,) under ``scores`` (T, V)."""
    return float(F.cross_entropy(scores[:-1].float(), ids[1:]))


def decode(runs: int) -> dict[str, Any]:
    """Both sides in turn."""
    folder = smollm2()
    int8 = served(folder)
    tokenizer = open_tokenizer(folder)
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    text = torch.tensor(tokenizer.encode(TEXT))
    with torch.inference_mode():
        model = open_served(int8)
        quality = nats(model.logits(model(text[None]))[0], text), nats(peer(text[None]).logits[0], text)
        del model
    ids = tokenizer.render((Message("user", QUESTION),), open_answer=True).ids
    sides = ours(int8, ids), theirs(peer, ids)
    for run in sides:
        run()
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for side, run in enumerate(sides):
            rates[side].append(run())
    ratios = [a / b for a, b in zip(*rates, strict=True)]
    return {
        "work": "decode",
        "peer": "transformers generate, bf16",
        "ours": statistics.median(rates[0]),
        "theirs": statistics.median(rates[1]),
        "ratio": statistics.median(ratios),
        "unit": "tokens/s",
        "runs": runs,
        "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
        "quality": f"{quality[0]:.3f} against {quality[1]:.3f} nats per token of the same text",
        "versions": {
            "lamina": lamina.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "machine": machine(),
    }


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {"decode": decode}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| work | peer | ours | theirs | ratio | spread | quality |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        rates = f"{row['ours']:.1f} {row['unit']} | {row['theirs']:.1f} {row['unit']}"
        lines.append(
            f"| {row['work']} | {row['peer']} | {rates} | {row['ratio']:.2f} | {row['spread']} | {row['quality']} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=list(ROWS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.rows) - set(ROWS):
        parser.error("known rows: " + ", ".join(ROWS))
    rows = [ROWS[name](2 if arguments.quick else 7) for name in arguments.rows]
    text = "\n".join(json.dumps(row) for row in rows) if arguments.json else table(rows)
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
