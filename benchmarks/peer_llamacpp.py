"""llama.cpp's side of the engine's benchmarks: `peer_llamacpp.py MODEL.gguf THREADS STREAMS` in its own environment.

The portable build of the package xllamacpp, its server inside the process, asked as `engine_ours.py` is; the seconds
of prompts and answers are by its own clock. `"cache": true`: it may keep what prompts have in common. Asked for nothing
(`0`) it tells its address, where it answers over HTTP as `llama-server` does.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from sides import questions, tell  # beside this file


def main() -> None:
    """Answer until nobody asks for more."""
    import xllamacpp

    model, threads, streams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel, params.n_ctx, params.n_gpu_layers = streams, 4096 * streams, 0
    params.n_batch = params.n_ubatch = 512
    params.warmup, params.endpoint_metrics, params.cache_prompt = True, False, False
    params.cache_ram_mib = 0  # of prompts that came to an end: none of them comes again, and up to 8 GiB are kept
    server = xllamacpp.Server(params)

    def answer(prompt: list[int], tokens: int, cache: bool) -> dict[str, float]:
        told: dict[str, Any] = {}
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0.0,
            "ignore_eos": True,
            "cache_prompt": cache,
        }
        server.handle_completions(json.dumps(body), lambda found: told.update(_parsed(found)))
        times = told["timings"]
        return {"prompt_s": times["prompt_ms"] / 1e3, "answer_s": times["predicted_ms"] / 1e3}

    for asked in questions():
        if not asked:
            tell({"url": server.listening_address})
            continue
        began = time.perf_counter()
        with ThreadPoolExecutor(streams) as pool:
            ask = partial(answer, tokens=asked["tokens"], cache=bool(asked.get("cache")))
            found = list(pool.map(ask, asked["prompts"]))
        told = {"all_s": time.perf_counter() - began} | {k: max(f[k] for f in found) for k in found[0]}
        tell(told)


def _parsed(found: Any) -> dict[str, Any]:
    whole = json.loads(found) if isinstance(found, str | bytes) else found
    if "timings" not in whole:
        raise RuntimeError(json.dumps(whole)[:300])
    return dict(whole)


if __name__ == "__main__":
    main()
