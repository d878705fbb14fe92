"""Answering on a GPU, against `transformers` on the same card: `bench_engine_gpu.py [one] [many] [--quick] [--json]`.

A model of SmolLM2-135M's shape with random weights, bfloat16, greedy. One stream at 128 and 2,048 tokens of context
(time between the first token and the last), then 16 and 64 requests of 256 tokens in and 128 out at once (tokens a
second from the first request in to the last token out). Ours is the whole engine: scheduler, paged cache, sampling,
streams. Peers: `generate` with a compiled static cache (one stream), `generate` of the whole batch at once, and
`generate_batch`, its continuous batching. vLLM is not among them: where this was written it could not be installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from machine import machine, versions_of  # beside this file
from peer_generate import Stamps

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.engine.engine import Engine
from lamina.deployment.loaded import placed
from lamina.kit.errors import LaminaError
from lamina.model.architectures.presets import preset
from lamina.model.transformer import Transformer

_VOCABULARY = 49152
_OUT = 128


class Silent:
    """A tokenizer of no texts and no end."""

    vocabulary = _VOCABULARY
    end_ids: tuple[int, ...] = ()

    def stream(self) -> Silent:
        """Itself."""
        return self

    def push(self, token_id: int) -> str:
        """Nothing."""
        return ""

    def finish(self) -> str:
        """Nothing."""
        return ""

    def decode(self, ids: Any) -> str:
        """Nothing."""
        return ""


class Ours:
    """The engine."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        model = Transformer(preset("smollm2-135m")).eval()
        self.engine = Engine(
            placed(model, torch.device("cuda")),
            Silent(),  # type: ignore[arg-type]
            version="bench",
            context=4096,
            queue_tokens=1 << 20,
            speculate=False,
        )
        self._count = 0

    def run(self, prompts: list[list[int]]) -> tuple[float, list[list[float]]]:
        """When it began, and when each token of each request came."""
        stamps: list[list[float]] = [[] for _ in prompts]
        done = threading.Semaphore(0)

        def receiver(place: int) -> Callable[[Chunk | LaminaError], None]:
            def receive(item: Chunk | LaminaError) -> None:
                if isinstance(item, LaminaError):
                    raise item
                stamps[place].append(time.perf_counter())
                if item.finish_reason:
                    done.release()

            return receive

        began = time.perf_counter()
        for place, prompt in enumerate(prompts):
            self._count += 1
            sampling = SamplingParams(temperature=0.0, max_tokens=_OUT)
            self.engine.submit(f"r{self._count}", prompt, sampling, receiver(place))
        for _ in prompts:
            done.acquire()
        return began, stamps


def peer() -> Any:
    """transformers' model of the same shape."""
    config = transformers.LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        max_position_embeddings=8192,
        rope_theta=1e5,
        tie_word_embeddings=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).to("cuda", torch.bfloat16).eval()


def stream_of(model: Any, prompt: list[int], **given: Any) -> float:
    """Tokens a second of one stream."""
    ids = torch.tensor([prompt], device="cuda")
    stamps = Stamps()
    with torch.inference_mode():
        model.generate(ids, max_new_tokens=_OUT, min_new_tokens=_OUT, do_sample=False, streamer=stamps, **given)
    times = stamps.times[1:]
    return (len(times) - 1) / (times[-1] - times[0])


def batch_of(model: Any, prompts: list[list[int]], **given: Any) -> float:
    """Tokens a second of a batch."""
    ids = torch.tensor(prompts, device="cuda")
    torch.cuda.synchronize()
    began = time.perf_counter()
    with torch.inference_mode():
        model.generate(ids, max_new_tokens=_OUT, min_new_tokens=_OUT, do_sample=False, **given)
    torch.cuda.synchronize()
    return len(prompts) * _OUT / (time.perf_counter() - began)


def continuous(model: Any, prompts: list[list[int]]) -> float:
    """Tokens a second of transformers' continuous batching."""
    settings = transformers.GenerationConfig(max_new_tokens=_OUT, do_sample=False, eos_token_id=-1, pad_token_id=0)
    began = time.perf_counter()
    found = model.generate_batch(inputs=prompts, generation_config=settings, progress_bar=False)
    taken = time.perf_counter() - began
    return sum(len(answer.generated_tokens) for answer in found.values()) / taken


def prompts_of(count: int, length: int) -> list[list[int]]:
    """Random prompts, new ones at each call."""
    return [torch.randint(5, _VOCABULARY, (length,)).tolist() for _ in range(count)]


def pairs(work: str, words: str, ours: Callable[[], float], theirs: Callable[[], float], runs: int) -> dict[str, Any]:
    """Both sides in turn, after one run each that warms up."""
    ours(), theirs()
    rates = [(ours(), theirs()) for _ in range(runs)]
    ratios = [a / b for a, b in rates]
    return {
        "work": work,
        "peer": words,
        "ours": statistics.median(a for a, _ in rates),
        "theirs": statistics.median(b for _, b in rates),
        "ratio": statistics.median(ratios),
        "unit": "tokens/s",
        "runs": runs,
        "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
        "quality": "bfloat16 on both sides, greedy, random weights of SmolLM2-135M's shape",
        "versions": versions_of("lamina", "torch", "transformers", "triton"),
        "machine": f"{machine()}, {torch.cuda.get_device_name()}",
    }


def rows(wanted: Sequence[str], *, quick: bool) -> Any:
    """All rows, one after another; a peer that fails is told and left out."""
    began = time.perf_counter()
    ours = Ours()
    sys.stderr.write(f"our engine stands after {time.perf_counter() - began:.1f} s: {ours.engine._runner.kernels}\n")
    model = peer()

    def one(context: int) -> float:
        _, stamps = ours.run(prompts_of(1, context))
        return (len(stamps[0]) - 1) / (stamps[0][-1] - stamps[0][0])

    def many(count: int) -> float:
        began, stamps = ours.run(prompts_of(count, 256))
        return count * _OUT / (max(s[-1] for s in stamps) - began)

    for context in ((128,) if quick else (128, 2048)) if "one" in wanted else ():
        work = f"decode on a GPU, 1 stream, context {context:,}"
        for words, given in (
            ("transformers generate, bf16", {}),
            ("transformers generate, bf16, static cache, compiled", {"cache_implementation": "static"}),
        ):
            yield (
                work,
                words,
                lambda c=context: one(c),
                lambda c=context, g=given: stream_of(model, *prompts_of(1, c), **g),
            )
    for count in ((16,) if quick else (16, 64)) if "many" in wanted else ():
        work = f"{count} requests at once on a GPU, 256 in, 128 out"
        yield (
            work,
            "transformers generate, bf16, one batch",
            lambda n=count: many(n),
            lambda n=count: batch_of(model, prompts_of(n, 256)),
        )
        yield (
            work,
            "transformers generate_batch, bf16",
            lambda n=count: many(n),
            lambda n=count: continuous(model, prompts_of(n, 256)),
        )


def main() -> int:
    """Print a row for each peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=["one", "many"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    if not torch.cuda.is_available():
        sys.stderr.write("no CUDA device here: no rows\n")
        return 0
    if unknown := set(arguments.rows) - {"one", "many"}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; rows: one, many")
    for work, words, ours, theirs in rows(arguments.rows, quick=arguments.quick):
        try:
            row = pairs(work, words, ours, theirs, arguments.runs)
        except Exception as error:  # a peer that does not run costs its own row
            sys.stderr.write(f"{work}, {words}: {type(error).__name__}: {str(error)[:300]}\n")
            continue
        text = f"{work}: {row['ratio']:.2f}x {words} ({row['spread']}), {row['ours']:,.0f} against {row['theirs']:,.0f}"
        sys.stdout.write((json.dumps(row) if arguments.json else text) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
