"""CTranslate2's side of `bench_texts.py`: `peer_ctranslate2_writer.py FOLDER THREADS`, in its own environment.

int8, made by its own converter the first time, beside the folder; all texts in one call, in its own batches.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ctranslate2
from peer_ctranslate2 import converted  # beside this file
from texts_side import open_backend, write_texts

BATCH_TOKENS = 2048  # of its batches, which are of texts alike in length


def main() -> None:
    """Answer until nobody asks for more."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    translator = ctranslate2.Translator(
        str(converted(folder)), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
    )
    backend = open_backend(str(folder))

    def write(texts: list[str], beams: int, tokens: int) -> list[str]:
        results = translator.translate_batch(
            [row.tokens for row in backend.encode_batch(texts)],
            beam_size=beams,
            min_decoding_length=tokens,
            max_decoding_length=tokens,
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
        )
        said = [[backend.token_to_id(token) for token in result.hypotheses[0]] for result in results]
        assert all(len(row) == tokens for row in said), "an answer ended before its limit"
        return backend.decode_batch(said)

    write_texts(write)


if __name__ == "__main__":
    main()
