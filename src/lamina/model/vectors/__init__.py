"""Word vectors: Word2Vec and GloVe trained, kept by word, read and written, judged, and made embedding tables."""
