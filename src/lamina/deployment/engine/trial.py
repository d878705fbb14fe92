"""A constraint read on trial, in a child process that can be ended: the library that reads it cannot be interrupted.

``llguidance`` bounds its work on the vocabulary, but not all that it does before it: the automata of twelve patterns
under ``allOf`` took it over a second, and nothing tells beforehand what another constraint will take.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

_NICE = 10
#: Of JSON schemas, where they say nothing else.
JSON_DEFAULTS = {"whitespace_pattern": r"[ \n\t]{1,16}"}  # small models write nothing but white space where they may
_niced = False


def read(payload: dict[str, Any], data: bytes | None) -> str | None:
    """What is wrong with the constraint ``{"kind": …, "text": …}``; None where nothing is. Called in a jail.

    Its tokens are single bytes, so that nothing of the model's vocabulary is needed.
    """
    from llguidance import LLMatcher, LLTokenizer

    global _niced
    if not _niced:
        _niced = True
        with suppress(OSError):
            os.nice(_NICE)
    return fault_of(LLMatcher, LLTokenizer("byte"), payload["kind"], payload["text"])[1]


def fault_of(library: Any, tokens: Any, kind: str, text: str) -> tuple[Any, str | None]:
    """The matcher of a constraint over ``tokens``, and what is wrong with it."""
    try:
        if kind == "json":
            grammar = library.grammar_from_json_schema(text, defaults=JSON_DEFAULTS)
        elif kind == "regex":
            grammar = library.grammar_from_regex(text)
        else:
            grammar = library.grammar_from_lark(text)
        matcher = library(tokens, grammar, log_level=0, limits=limits())
        if not matcher.is_error():
            matcher.compute_bitmask()  # the first place is the dearest: its limits are met here, not in a step
        return matcher, matcher.get_error() if matcher.is_error() else None
    except ValueError as error:
        return None, str(error)


def limits() -> Any:
    """The library's own bounds."""
    import llguidance

    return llguidance.LLParserLimits(
        max_items_in_row=500,
        initial_lexer_fuel=200_000,
        step_lexer_fuel=100_000,
        step_max_items=5_000,
        max_lexer_states=20_000,
        max_grammar_size=50_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )
