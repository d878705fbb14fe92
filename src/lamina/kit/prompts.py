"""Prompts that more than one layer must word alike: what training shows is what serving asks."""

from __future__ import annotations

from collections.abc import Sequence


def grounded_system(passages: Sequence[tuple[int, str, str]]) -> str:
    """The system message that puts ``passages`` (number, title, text) before the model.

    >>> print(grounded_system([(1, "Tides", "The moon raises the tides.")]))
    Answer the question from these passages, in one or two sentences.
    <BLANKLINE>
    [1] Tides: The moon raises the tides.
    """
    quoted = "\n\n".join(
        f"[{number}] {title}: {text}" if title else f"[{number}] {text}" for number, title, text in passages
    )
    return f"Answer the question from these passages, in one or two sentences.\n\n{quoted}"
