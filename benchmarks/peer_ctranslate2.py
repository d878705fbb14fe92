"""CTranslate2's side of the engine's benchmarks: `peer_ctranslate2.py FOLDER THREADS` in its own environment.

int8, made by its own converter the first time, beside the folder; the prompts as one batch; asked as `engine_ours.py`
is, times as tokens come. `{"text": [ids]}`: nats per token, by its own scores.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import ctranslate2
import transformers
from sides import questions, tell  # beside this file


def answer(generator: Any, words: list[str], asked: dict[str, Any]) -> dict[str, float]:
    """All prompts as one batch."""
    first: dict[int, float] = {}

    def came(step: Any) -> bool:
        first.setdefault(step.batch_id, time.perf_counter())
        return False

    began = time.perf_counter()
    generator.generate_batch(
        [[words[id] for id in prompt] for prompt in asked["prompts"]],
        max_length=asked["tokens"],
        min_length=asked["tokens"],
        sampling_topk=1,
        include_prompt_in_result=False,
        callback=came,
    )
    ended = time.perf_counter()
    return {"prompt_s": max(first.values()) - began, "answer_s": ended - min(first.values()), "all_s": ended - began}


def converted(folder: Path) -> Path:
    """The model in its own format."""
    place = folder.with_name(folder.name + "-ct2-int8")
    if not place.is_dir():
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(place), quantization="int8")
    return place


def main() -> None:
    """Answer until nobody asks for more."""
    folder = Path(sys.argv[1])
    generator = ctranslate2.Generator(str(converted(folder)), intra_threads=int(sys.argv[2]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    for asked in questions():
        if "text" in asked:
            (scored,) = generator.score_batch([[words[id] for id in asked["text"]]])
            told: dict[str, Any] = {"nats": -sum(scored.log_probs) / len(scored.log_probs)}
        else:
            told = answer(generator, words, asked)
        tell(told)


if __name__ == "__main__":
    main()
