"""OpenVINO GenAI's side of the engine's benchmarks: `peer_openvino.py MODEL.gguf THREADS STREAMS` in its environment.

Its pipeline with continuous batching and paged attention, over the file as it is, asked as `engine_ours.py` is; times
are taken as tokens come. `"cache": true`: it may keep what prompts have in common.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai
from sides import questions, tell  # beside this file

BLOCK = 32  # tokens of a block of its cache on a processor
LONGEST = 2304  # tokens of a prompt and its answer


def answer(pipe: Any, asked: dict[str, Any], number: int) -> dict[str, float]:
    """All prompts at once, a step at a time."""
    config = genai.GenerationConfig(
        max_new_tokens=asked["tokens"], min_new_tokens=asked["tokens"], ignore_eos=True, do_sample=False
    )
    began = time.perf_counter()
    handles = [
        pipe.add_request(number * 1000 + i, openvino.Tensor(np.array([prompt], dtype=np.int64)), config)
        for i, prompt in enumerate(asked["prompts"])
    ]
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    while pipe.has_non_finished_requests():
        pipe.step()
        now = time.perf_counter()
        for i, handle in enumerate(handles):
            if handle.can_read() and handle.read():
                first.setdefault(i, now)
                last[i] = now
    return {
        "prompt_s": max(first.values()) - began,
        "answer_s": max(last[i] - first[i] for i in first),
        "all_s": max(last.values()) - began,
    }


def open_pipe(model: str, threads: int, streams: int, *, cache: bool) -> Any:
    """The pipeline, with room for all prompts."""
    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = streams * LONGEST // BLOCK
    scheduler.max_num_seqs = streams
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = cache
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    return genai.ContinuousBatchingPipeline(model, scheduler, "CPU", options)


def main() -> None:
    """Answer until nobody asks for more."""
    model, threads, streams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pipes: dict[bool, Any] = {}
    for number, asked in enumerate(questions()):
        cache = bool(asked.get("cache"))
        if cache not in pipes:
            pipes[cache] = open_pipe(model, threads, streams, cache=cache)
        tell(answer(pipes[cache], asked, number))


if __name__ == "__main__":
    main()
