"""mistral.rs' side of the engine's benchmarks: `peer_mistralrs.py MODEL.gguf` in its own environment.

The file as it is. Completions take words, so a prompt is the words of the asked tokens, and its seconds are scaled
where these are not as many tokens. Asked as `engine_ours.py` is, one prompt at a time: its runner refuses a second one
from Python. Times by its own clock.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mistralrs
from sides import questions, tell  # beside this file


def answer(runner: Any, prompt: list[int], tokens: int) -> dict[str, float]:
    """One request."""
    words = runner.detokenize_text(prompt, False)
    request = mistralrs.CompletionRequest(words, "default", max_tokens=tokens, temperature=0.0, ignore_eos=True)
    usage = runner.send_completion_request(request).usage
    if usage.completion_tokens < tokens - 1:
        raise RuntimeError(f"{usage.completion_tokens} tokens instead of {tokens}")
    scale = len(prompt) / usage.prompt_tokens
    return {"prompt_s": scale * usage.total_prompt_time_sec, "answer_s": usage.total_completion_time_sec}


def main() -> None:
    """Answer until nobody asks for more."""
    model = Path(sys.argv[1])
    runner = mistralrs.Runner(mistralrs.Which.GGUF(str(model.parent), model.name), prefix_cache_n=0)
    for asked in questions():
        (prompt,) = asked["prompts"]
        told = answer(runner, prompt, asked["tokens"])
        tell(told | {"all_s": sum(told.values())})


if __name__ == "__main__":
    main()
