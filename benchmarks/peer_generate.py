"""transformers' side of the engine's benchmarks: `peer_generate.py FOLDER`, asked as `engine_ours.py` is.

`generate` in bfloat16 with its key-value cache, the prompts as one batch; `{"text": [ids]}` gives nats per token.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
import transformers
from sides import questions, tell  # beside this file
from torch.nn import functional as F


class Stamps(transformers.generation.streamers.BaseStreamer):
    """When each token came; the first call brings the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def answer(model: Any, asked: dict[str, Any]) -> dict[str, float]:
    """All prompts as one batch; a streamer takes a single one only, so of more there is the whole time alone."""
    prompts = torch.tensor(asked["prompts"])
    stamps = Stamps()
    began = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=asked["tokens"],
            min_new_tokens=asked["tokens"],
            do_sample=False,
            streamer=stamps if len(prompts) == 1 else None,
            pad_token_id=0,
        )
    ended = time.perf_counter()
    first = stamps.times[1] if len(stamps.times) > 1 else ended
    return {"prompt_s": first - began, "answer_s": ended - first, "all_s": ended - began}


def main() -> None:
    """Answer until nobody asks for more."""
    model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
    for asked in questions():
        if "text" in asked:
            ids = torch.tensor(asked["text"])
            with torch.inference_mode():
                scores = model(ids[None]).logits[0]
            told: dict[str, Any] = {"nats": float(F.cross_entropy(scores[:-1].float(), ids[1:]))}
        else:
            told = answer(model, asked)
        tell(told)


if __name__ == "__main__":
    main()
