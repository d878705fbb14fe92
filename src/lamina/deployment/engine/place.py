"""Where a sequence lies in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """The blocks of a sequence, in order, and how many of its tokens are stored in them."""

    blocks: Sequence[int]
    stored: int
