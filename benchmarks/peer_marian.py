"""transformers' side of `bench_texts.py`: `peer_marian.py FOLDER THREADS DTYPE`.

`generate` with its key-value cache, on batches of texts alike in length.
"""

from __future__ import annotations

import sys

import torch
import transformers
from texts_side import alike, open_backend, padded, write_texts  # beside this file


def main() -> None:
    """Answer until nobody asks for more."""
    folder, threads, dtype = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(threads)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    backend = open_backend(folder)

    @torch.inference_mode()
    def write(texts: list[str], beams: int, tokens: int) -> list[str]:
        rows = [row.ids for row in backend.encode_batch_fast(texts)]
        found = [""] * len(rows)
        for batch in alike(rows):
            ids, mask = map(torch.from_numpy, padded([rows[n] for n in batch], model.config.pad_token_id))
            said = model.generate(
                ids, attention_mask=mask, num_beams=beams, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens
            )
            for n, text in zip(batch, backend.decode_batch(said[:, 1:].tolist()), strict=True):
                found[n] = text
        return found

    write_texts(write)


if __name__ == "__main__":
    main()
