"""gensim trains word vectors: `peer_gensim.py CORPUS OUT THREADS EPOCHS SEED`, or reads: `peer_gensim.py FILE`.

Prints a JSON object: seconds of training and of all, vocabulary, version; or how many vectors it read.
"""

from __future__ import annotations

import json
import sys
import time

import gensim
from gensim.models import KeyedVectors, Word2Vec


def train(corpus: str, out: str, threads: int, epochs: int, seed: int) -> None:
    """Skip-gram as the row says, by `corpus_file`, gensim's fastest way."""
    begin = time.perf_counter()
    model = Word2Vec(vector_size=100, window=5, negative=5, sg=1, sample=1e-3, min_count=5, workers=threads, seed=seed)
    model.build_vocab(corpus_file=corpus)
    ready = time.perf_counter()
    words = model.corpus_total_words
    model.train(corpus_file=corpus, total_examples=model.corpus_count, total_words=words, epochs=epochs)
    done = time.perf_counter()
    model.wv.save_word2vec_format(out, binary=True)
    seconds, whole = done - ready, time.perf_counter() - begin
    told = {"seconds": seconds, "whole": whole, "words": len(model.wv), "version": gensim.__version__}
    print(json.dumps(told))


def main() -> None:
    """One of the two."""
    if len(sys.argv) == 2:
        print(json.dumps({"read": len(KeyedVectors.load_word2vec_format(sys.argv[1], binary=True))}))
    else:
        train(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))


if __name__ == "__main__":
    main()
