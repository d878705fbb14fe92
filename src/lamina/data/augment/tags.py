"""Language tags (BCP 47), as far as augmentation looks at them."""

from __future__ import annotations


def primary(language: str | None) -> str:
    """The language of a tag: "en" of "en-GB"; "" where there is none."""
    return (language or "").lower().replace("_", "-").split("-")[0]
