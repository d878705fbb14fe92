"""Rows for other objectives than the next token: texts to hide words of, spans to fill in, pairs, labelled texts."""
