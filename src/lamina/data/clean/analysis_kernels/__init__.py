"""Compiled loops over the bytes of texts. Imported by `analysis.py` and `language.py` where they are used: numba takes
half a second to load, and what only plans does not need it."""
