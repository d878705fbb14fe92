"""Arithmetic of sizes that factories of specifications share."""

from __future__ import annotations

from lamina.kit.errors import ConfigError


def share(width: int, heads: int) -> int:
    """The width of each of ``heads``."""
    if heads < 1 or width % heads:
        raise ConfigError(f"a width of {width} cannot be shared out over {heads} heads", where="model")
    return width // heads


def rounded(inner: int, multiple: int = 64) -> int:
    """``inner``, rounded up."""
    return -(-inner // multiple) * multiple
