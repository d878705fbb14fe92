"""llama.cpp's side as its own compiler made it for this machine: `peer_llamacpp_native.py MODEL.gguf THREADS STREAMS`.

The library of the package llama-cpp-python, which is compiled on installation, called directly: prompts in batches of
512 tokens, answers of all sequences in one batch a step, the likeliest token taken. Asked as `engine_ours.py` is.
`"cache": true`: what all prompts begin with is computed once and shared by their sequences.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp as library
import numpy as np
from sides import questions, tell  # beside this file

LONGEST = 2304  # tokens of a prompt and its answer
PART = 512


class Sequences:
    """A context for ``streams`` sequences; ``shared``: they may have cells of the cache in common."""

    def __init__(self, model: Any, threads: int, streams: int, *, shared: bool) -> None:
        params = library.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = LONGEST * streams, streams, shared
        params.n_batch = params.n_ubatch = PART
        params.n_threads = params.n_threads_batch = threads
        self.context = library.llama_init_from_model(model, params)
        self.memory = library.llama_get_memory(self.context)
        self.batch = library.llama_batch_init(PART, 0, 1)
        self.words = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))

    def read(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Compute (token, position, sequence, asked); the likeliest next token of those that are asked."""
        found = []
        for start in range(0, len(rows), PART):
            part = rows[start : start + PART]
            batch = self.batch
            batch.n_tokens = len(part)
            for i, (token, position, sequence, asked) in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position, 1, sequence
                batch.logits[i] = asked
            if library.llama_decode(self.context, batch):
                raise RuntimeError("llama_decode failed")
            for i, row in enumerate(part):
                if row[3]:
                    scores = library.llama_get_logits_ith(self.context, i)
                    found.append(int(np.ctypeslib.as_array(scores, (self.words,)).argmax()))
        return found

    def answer(self, prompts: list[list[int]], tokens: int, *, common: int) -> dict[str, float]:
        """All prompts at once; their first ``common`` tokens are read once."""
        library.llama_memory_clear(self.memory, True)
        began = time.perf_counter()
        if common:
            self.read([(token, i, 0, False) for i, token in enumerate(prompts[0][:common])])
            for sequence in range(1, len(prompts)):
                library.llama_memory_seq_cp(self.memory, 0, sequence, 0, common)
        rest = [
            (prompt[i], i, sequence, i == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for i in range(common, len(prompt))
        ]
        last = self.read(rest)
        first = time.perf_counter()
        for step in range(tokens - 1):
            last = self.read([(t, len(prompts[s]) + step, s, True) for s, t in enumerate(last)])
        ended = time.perf_counter()
        return {"prompt_s": first - began, "answer_s": ended - first, "all_s": ended - began}


def beginning(prompts: list[list[int]]) -> int:
    """How many tokens all prompts begin with; one is left for each to be asked."""
    count = 0
    for same in zip(*prompts, strict=False):
        if len(set(same)) > 1:
            break
        count += 1
    return min(count, min(map(len, prompts)) - 1)


def main() -> None:
    """Answer until nobody asks for more."""
    path, threads, streams = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    params = library.llama_model_default_params()
    model = library.llama_model_load_from_file(str(path).encode(), params)
    kept: dict[bool, Sequences] = {}
    for asked in questions():
        cache = bool(asked.get("cache"))
        if cache not in kept:
            kept[cache] = Sequences(model, threads, streams, shared=cache)
        prompts = asked["prompts"]
        common = beginning(prompts) if cache and len(prompts) > 1 else 0
        told = kept[cache].answer(prompts, asked["tokens"], common=common)
        tell(told)


if __name__ == "__main__":
    main()
