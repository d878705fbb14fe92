"""Our side of `bench_texts.py`: `texts_ours.py FOLDER`, asked as `texts_side.py` says.

The model in FOLDER as the server opens it for whole texts (``[deployment] quantize`` as it comes), its queue and its
batches included.
"""

from __future__ import annotations

import sys
from pathlib import Path

from texts_side import Floats, make_vectors, write_texts  # beside this file

from lamina.contracts.texts import Writing
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.texts.opening import open_texts
from lamina.kit.tokenizer import open_tokenizer


def main() -> None:
    """Answer until nobody asks for more."""
    folder = Path(sys.argv[1])
    served = open_texts(open_served(folder), open_tokenizer(folder), folder, version="bench", quantize="int8")

    def embed(texts: list[str]) -> Floats:
        return served.embed(texts).vectors

    def write(texts: list[str], beams: int, tokens: int) -> list[str]:
        written = served.translate(texts, Writing(num_beams=beams, max_tokens=tokens))
        assert all(row.tokens == tokens for row in written.rows), "an answer ended before its limit"
        return [row.text for row in written.rows]

    if "embeddings" in served.abilities.tasks:
        make_vectors(embed)
    else:
        write_texts(write)
    served.close()


if __name__ == "__main__":
    main()
