"""sentence-transformers' side of `bench_texts.py`: `peer_sentence_transformers.py FOLDER THREADS DTYPE`.

Its `encode` of all texts that are asked for at once as one batch, in `.bench/embeddings`.
"""

from __future__ import annotations

import sys

import torch
from sentence_transformers import SentenceTransformer
from texts_side import Floats, make_vectors  # beside this file


def main() -> None:
    """Answer until nobody asks for more."""
    folder, threads, dtype = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})

    def embed(texts: list[str]) -> Floats:
        found = model.encode(texts, batch_size=len(texts), convert_to_tensor=True, normalize_embeddings=True)
        return found.float().numpy()

    make_vectors(embed)


if __name__ == "__main__":
    main()
