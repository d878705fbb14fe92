"""Compiled loops over the characters of texts. Imported where they are used: numba takes half a second to load."""
