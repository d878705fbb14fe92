"""Continuous batching over paged keys and values."""
