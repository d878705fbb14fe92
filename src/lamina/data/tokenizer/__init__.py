"""Tokenizers: trained on a corpus, compared, and run over much text."""
