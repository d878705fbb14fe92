"""Published rules as lists of steps that a stack file can name: ``[[data.steps]] recipe = "gopher"``.

The limits are those of the papers, as datatrove applies them to English; words are counted as there
(``split = "marks"``). Other languages, by what the same share of their texts has (leads of Wikipedia, translations of a
handbook): 0.77 for words with a letter, since most set more commas; Chinese, Japanese and Thai count characters, of
which 80 say what 50 English words do, and repeat short runs of them, so only the longest n-grams count. A rule that
does not apply (no table of stop words for the language, no spaces between words) is null, and drops nothing.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any

from lamina.kit.errors import ConfigError

Steps = list[dict[str, Any]]

_BY_CHARACTER = "language IN ('zh', 'ja', 'th', 'lo', 'km', 'my')"


def _by_script(characters: float, words: float) -> str:
    """A limit for scripts that are counted by character, and the one for all others."""
    return f"CASE WHEN {_BY_CHARACTER} THEN {characters} ELSE {words} END"


def _runs() -> str:
    limits = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11}
    shorter = [f"duplicate_{n}_grams <= {_by_script(1.0, limit)}" for n, limit in limits.items()]
    return " AND ".join([*shorter, f"duplicate_10_grams <= {_by_script(0.15, 0.1)}"])


_REPETITION: Steps = [
    {"signal": "repetition", "split": "marks"},
    {
        "decide": "duplicate_lines <= 0.3 AND duplicate_paragraphs <= 0.3 AND duplicate_line_characters <= 0.2"
        " AND duplicate_paragraph_characters <= 0.2 AND top_2_gram <= 0.2 AND top_3_gram <= 0.18 AND top_4_gram <= 0.16"
        f" AND {_runs()}",
        "reason": "Gopher repetition",
    },
]
_QUALITY: Steps = [
    {"signal": "quality", "split": "marks"},
    {
        "decide": f"words >= {_by_script(80, 50)} AND words <= 100000"
        " AND (mean_word_length IS NULL OR (mean_word_length >= 3 AND mean_word_length <= 10))"
        " AND hashes_per_word <= 0.1 AND ellipses_per_word <= 0.1 AND bullet_lines <= 0.9 AND ellipsis_lines <= 0.3"
        " AND alphabetic_words >= CASE WHEN language = 'en' THEN 0.8 ELSE 0.77 END"
        " AND (stop_words IS NULL OR stop_words >= 2)",
        "reason": "Gopher quality",
    },
]
_C4_PAGES = "c4_sentences >= 5 AND NOT c4_curly_bracket AND NOT c4_lorem_ipsum"
_FINEWEB: Steps = [
    {"signal": "fineweb"},
    {
        "decide": "fineweb_punctuated_lines >= 0.12 AND fineweb_short_lines <= 0.67"
        " AND fineweb_duplicate_characters <= 0.01 AND fineweb_newlines_per_word <= 0.3",
        "reason": "FineWeb",
    },
]


def _c4(terminal: bool) -> Steps:
    return [
        {"signal": "c4", "terminal": terminal},
        {"decide": _C4_PAGES, "reason": "C4"},
        {"transform": "c4_lines", "terminal": terminal},
    ]


#: Rae et al. 2021.
GOPHER: Steps = [{"signal": "language"}, *_REPETITION, *_QUALITY]
#: Raffel et al. 2020 (without its list of bad words and its three-sentence duplicates).
C4: Steps = _c4(terminal=True)
#: Penedo et al. 2024: Gopher, C4 without its rule on punctuation at the end of lines, and rules of its own. Which
#: languages are wanted is the stack file's to say: ``decide = "language = 'en' AND language_score >= 0.65"``.
FINEWEB: Steps = [{"signal": "language"}, *_REPETITION, *_QUALITY, *_c4(terminal=False), *_FINEWEB]
RECIPES: dict[str, Steps] = {"gopher": GOPHER, "c4": C4, "fineweb": FINEWEB}


def recipe(name: str) -> Steps:
    """The steps of a recipe, to be put in its place. Raises ``ConfigError`` for a name that there is not."""
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = (f"did you mean '{close[0]}'? " if close else "") + "known: " + ", ".join(RECIPES)
        raise ConfigError(f"there is no recipe '{name}'", hint=hint)
    return copy.deepcopy(RECIPES[name])
