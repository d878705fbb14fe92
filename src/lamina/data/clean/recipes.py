"""Published rules as lists of steps that a stack file can name, whole or less some rules:

    [[data.steps]]
    recipe = "fineweb"
    without = ["stop_words", "c4_lines"]
    rules = { words = "words BETWEEN 30 AND 100000" }

Each rule is a Decide of its own, so that its cost can be seen and its limit tried (`lamina data what-if`).

The limits are those of the papers, as datatrove applies them to English; words are counted as there
(``split = "marks"``). Other languages have those that drop as large a share of them as of English texts of the same
length, by measurements of our own on leads of Wikipedia and translations of handbooks (docs/log.md, 2026-11-26):

- 0.77 for words with a letter, since most set more commas
- 43 German, 48 French and Spanish words fill the room of 50 English ones
- German, French and Spanish sentences are longer: of 600 characters, four count for five
- Chinese, Japanese and Thai count characters, of which 80 say what 50 English words do, and repeat short runs of them,
  so only the longest n-grams count

A rule that does not apply (no table of stop words for the language, no spaces between words) drops nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from lamina.kit.config import bind
from lamina.kit.errors import ConfigError

Steps = list[dict[str, Any]]

_BY_CHARACTER = ("zh", "ja", "th", "lo", "km", "my")
_LONG_SENTENCES = ("de", "es", "fr")


def _of(*languages: str) -> str:
    """Whether a document is in one of the languages, in any region: zh-CN is zh."""
    return f"SPLIT_PART(language, '-', 1) IN ({', '.join(map(repr, languages))})"


def _limit(other: float, **by_language: float) -> str:
    """A limit by language, and the one for all others; no language is one of the others."""
    cases = "".join(f"WHEN {_of(language)} THEN {limit} " for language, limit in by_language.items())
    return f"CASE {cases}ELSE {other} END"


def _by_script(characters: float, words: float | str) -> str:
    """A limit for scripts that are counted by character, and the one for all others."""
    return f"CASE WHEN {_of(*_BY_CHARACTER)} THEN {characters} ELSE {words} END"


def _runs() -> dict[str, str]:
    limits = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11}
    rules = {f"duplicate_{n}_grams": f"duplicate_{n}_grams <= {_by_script(1.0, limit)}" for n, limit in limits.items()}
    return rules | {"duplicate_10_grams": f"duplicate_10_grams <= {_by_script(0.15, 0.1)}"}


_REPETITION = {
    "duplicate_lines": "duplicate_lines <= 0.3",
    "duplicate_paragraphs": "duplicate_paragraphs <= 0.3",
    "duplicate_line_characters": "duplicate_line_characters <= 0.2",
    "duplicate_paragraph_characters": "duplicate_paragraph_characters <= 0.2",
    "top_2_gram": "top_2_gram <= 0.2",
    "top_3_gram": "top_3_gram <= 0.18",
    "top_4_gram": "top_4_gram <= 0.16",
    **_runs(),
}
_QUALITY = {
    "words": f"words >= {_by_script(80, _limit(50, de=43, es=48, fr=48))} AND words <= 100000",
    "mean_word_length": "mean_word_length IS NULL OR (mean_word_length >= 3 AND mean_word_length <= 10)",
    "hashes_per_word": "hashes_per_word <= 0.1",
    "ellipses_per_word": "ellipses_per_word <= 0.1",
    "bullet_lines": "bullet_lines <= 0.9",
    "ellipsis_lines": "ellipsis_lines <= 0.3",
    "alphabetic_words": f"alphabetic_words >= {_limit(0.77, en=0.8)}",
    "stop_words": "stop_words IS NULL OR stop_words >= 2",
}
_C4 = {
    "c4_sentences": f"c4_sentences >= CASE WHEN {_of(*_LONG_SENTENCES)} AND c4_characters >= 600 THEN 4 ELSE 5 END",
    "c4_curly_bracket": "NOT c4_curly_bracket",
    "c4_lorem_ipsum": "NOT c4_lorem_ipsum",
}
_FINEWEB = {
    "fineweb_punctuated_lines": "fineweb_punctuated_lines >= 0.12",
    "fineweb_short_lines": "fineweb_short_lines <= 0.67",
    "fineweb_duplicate_characters": "fineweb_duplicate_characters <= 0.01",
    "fineweb_newlines_per_word": "fineweb_newlines_per_word <= 0.3",
}


def _decides(whose: str, rules: Mapping[str, str]) -> Steps:
    return [{"decide": expression, "reason": f"{whose}: {name}"} for name, expression in rules.items()]


def _gopher() -> Steps:
    return [
        {"signal": "language"},
        {"signal": "repetition", "split": "marks"},
        *_decides("Gopher", _REPETITION),
        {"signal": "quality", "split": "marks"},
        *_decides("Gopher", _QUALITY),
    ]


def _c4(terminal: bool) -> Steps:
    return [
        {"signal": "language"},
        {"signal": "c4", "terminal": terminal},
        *_decides("C4", _C4),
        {"transform": "c4_lines", "terminal": terminal},
    ]


#: "gopher": Rae et al. 2021. "c4": Raffel et al. 2020 (without its list of bad words and its three-sentence
#: duplicates). "fineweb": Penedo et al. 2024: Gopher, C4 without its rule on punctuation at the end of lines, and rules
#: of its own. Which languages are wanted is the stack file's to say:
#: ``decide = "language = 'en' AND language_score >= 0.65"``.
RECIPES: dict[str, Steps] = {
    "gopher": _gopher(),
    "c4": _c4(terminal=True),
    "fineweb": [*_gopher(), *_c4(terminal=False), {"signal": "fineweb"}, *_decides("FineWeb", _FINEWEB)],
}


def recipe(name: str, *, without: tuple[str, ...] = (), rules: dict[str, str] | None = None) -> Steps:
    """The steps of a recipe, to be put in its place.

    ``without``: rules, and transforms, that are left out; ``rules``: rules in other words. Raises ``ConfigError`` for a
    recipe or rule that there is not.
    """
    if name not in RECIPES:
        raise _unknown("recipe", str(name), RECIPES)
    steps = [dict(step) for step in RECIPES[name]]
    known = [rule for step in steps if (rule := _rule(step))]
    for given in (*without, *(rules or {})):
        if given not in known:
            raise _unknown(f"rule of '{name}'", given, known)
    for step in steps:
        if "decide" in step and _rule(step) in (rules or {}):
            step["decide"] = (rules or {})[_rule(step)]
    return [step for step in steps if _rule(step) not in without]


def expand(tables: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, dict[str, Any]]]:
    """Steps of a stack file with each recipe's own in its place, as (number, place in ``tables``, step).

    The number tells a recipe's steps apart: "04.02" is the second one of the fourth table. A signal that stands before
    with no transform between is not measured again. Raises ``ConfigError`` as ``recipe`` does.
    """
    found: list[tuple[str, int, dict[str, Any]]] = []
    for place, table in enumerate(tables):
        if "recipe" not in table:
            found.append((f"{place + 1:02d}", place, dict(table)))
            continue
        where = f"data.steps.{place}"
        own = {key: value for key, value in table.items() if key != "recipe"}
        if not isinstance(table["recipe"], str):
            raise ConfigError(f"'recipe' wants text, not {table['recipe']!r}", where=where)
        try:
            steps = recipe(table["recipe"], **bind(recipe, own, where=where))
        except ConfigError as error:
            raise ConfigError(error.what, where=error.where or where, hint=error.hint) from None
        for step in steps:
            if not _measured(step, found):
                number = sum(p == place for _, p, _ in found) + 1
                found.append((f"{place + 1:02d}.{number:02d}", place, step))
    return found


def _measured(step: Mapping[str, Any], before: Sequence[tuple[str, int, Mapping[str, Any]]]) -> bool:
    """Whether a signal of a recipe stands already; ``language`` hardly hangs on what is edited."""
    if "signal" not in step:
        return False
    for _, _, other in reversed(before):
        if other == step or other.get("signal") == step["signal"] == "language":
            return True
        if "transform" in other and step["signal"] != "language":
            return False
    return False


def _rule(step: Mapping[str, Any]) -> str:
    """What a rule (or transform) is called in ``without``; "" for a signal."""
    return str(step["reason"]).split(": ")[1] if "reason" in step else str(step.get("transform", ""))


def _unknown(noun: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> ConfigError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = (f"did you mean '{close[0]}'? " if close else "") + "known: " + ", ".join(known)
    return ConfigError(f"there is no {noun} called '{name}'", hint=hint)
