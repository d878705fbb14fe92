"""vLLM's side of the engine's benchmarks: `peer_vllm.py FOLDER THREADS STREAMS` in its own environment.

The folder in float32, which is this build's fastest form on a processor without AVX-512 or AMX, compiled as vLLM does
by itself; asked as `engine_ours.py` is, a step at a time. Without `"cache": true` each turn has a salt of its own, so
that nothing is found of an earlier one. `{"text": [ids]}` gives nats per token.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from sides import questions, tell  # beside this file

LONGEST = 2304  # tokens of a prompt and its answer


def open_engine(folder: str, streams: int) -> Any:
    """vLLM's engine, with room for all prompts."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    of = json.loads((Path(folder) / "config.json").read_text())
    head = of.get("head_dim") or of["hidden_size"] // of["num_attention_heads"]
    token = of["num_hidden_layers"] * 2 * of["num_key_value_heads"] * head * 4  # bytes of keys and values

    return LLMEngine.from_engine_args(
        EngineArgs(
            model=folder,
            dtype="float32",
            max_model_len=LONGEST,
            max_num_seqs=max(2, streams),
            kv_cache_memory_bytes=(streams + 1) * LONGEST * token,
            disable_log_stats=True,
        )
    )


def answer(engine: Any, asked: dict[str, Any], number: int) -> dict[str, float]:
    """All prompts at once, greedy."""
    from vllm import SamplingParams

    count = asked["tokens"]
    sampling = SamplingParams(temperature=0.0, max_tokens=count, min_tokens=count, ignore_eos=True, detokenize=False)
    salt = {} if asked.get("cache") else {"cache_salt": str(number)}
    began = time.perf_counter()
    for i, prompt in enumerate(asked["prompts"]):
        engine.add_request(f"{number}-{i}", {"prompt_token_ids": prompt, **salt}, sampling)
    stamps: dict[str, list[float]] = {}
    while engine.has_unfinished_requests():
        for told in engine.step():
            stamps.setdefault(told.request_id, []).append(time.perf_counter())
    ends = stamps.values()
    return {
        "prompt_s": max(times[0] for times in ends) - began,
        "answer_s": max(times[-1] - times[0] for times in ends),
        "all_s": max(times[-1] for times in ends) - began,
    }


def nats(engine: Any, text: list[int], number: int) -> float:
    """Nats per token of ``text``."""
    from vllm import SamplingParams

    sampling = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    engine.add_request(f"text-{number}", {"prompt_token_ids": text}, sampling)
    told: Any = None
    while engine.has_unfinished_requests():
        told = (engine.step() or [told])[-1]
    found = zip(text[1:], told.prompt_logprobs[1:], strict=True)
    return float(-sum(likely[token].logprob for token, likely in found) / (len(text) - 1))


def main() -> None:
    """Answer until nobody asks for more."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    folder, streams = sys.argv[1], int(sys.argv[3])
    engine = open_engine(folder, streams)
    for number, asked in enumerate(questions()):
        tell({"nats": nats(engine, asked["text"], number)} if "text" in asked else answer(engine, asked, number))


if __name__ == "__main__":
    main()
