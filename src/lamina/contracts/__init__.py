"""Nouns and one-method protocols that all layers share: no behaviour, standard library, numpy and pyarrow only."""
