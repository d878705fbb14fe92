"""What finds shared text: folding and hashing of words, sketches of documents, buckets, stars, and their index."""
