"""Models that answer whole texts, many at once: encoders and encoder-decoders."""
