"""Words as the search sees them: folded, lightly stemmed, in any script; and which of them carry meaning.

One function makes the words of passages and of queries, so that the two always meet. The stemmer is Harman's S-stemmer
(1991) with -ing, -ed and final -e taken off; scripts without spaces are cut into pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:['’ʼ][^\W_]+)*")
_UNSPACED = re.compile(  # Thai, Lao, Burmese, Khmer, kana, Han
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
_VOWEL = re.compile(r"[aeiouy]")

#: Words that ask or connect; what is left of a question is what it is about.
_STOP = """
a about above actually after again all also always am an and another any anybody anyone anything are as ask at
be because been before being below between both but by call called came can cannot come could define describe
detail did different do does doing done down during each either else enough especially etc even ever every
everybody everyone everything exactly example explain few find first for from further gave get give given go
goes going good got great had happen happened happens has have having he hello help her here hers herself hey
hi him himself his how however i if in information instead into is it its itself just keep kind know known
knows last least less let like list little look lot made make makes many may maybe me mean means mention
mentioned might mine more most much must my myself name named need neither never new next no nobody none nor
not nothing now of off often ok okay on once one only onto or other others our ours ourselves out over own per
please quite rather really regarding said same say says see seem several shall she should show since so some
somebody someone something sort still such summarise summarize summary sure take tell than thank thanks that
the their theirs them themselves then there these they thing things think this those though through thus to
together too toward towards under until up upon us use used uses using usually very want was way we well went
were what whatever when where whether which while who whoever whom whose why will with within without word
words would write yes yet you your yours yourself yourselves bye goodbye morning evening don doesn didn isn
wasn aren won couldn shouldn wouldn ll ve re
"""
STOP_WORDS = frozenset(_STOP.split())

#: Small words that turn a question into another one, and what each of them asks for.
_ASKING = {
    **dict.fromkeys(("who", "whom", "whoever"), "who"),
    **{w: w for w in ("whose", "when", "where", "why", "how", "many", "much", "more", "less", "most", "least")},
    **{w: w for w in ("before", "after", "first", "last", "next", "over", "under", "up", "down", "without")},
    **dict.fromkeys(("not", "no", "never", "none", "nobody", "nothing", "neither", "nor"), "not"),
    **dict.fromkeys(("don", "doesn", "didn", "isn", "wasn", "aren", "won", "couldn", "shouldn", "wouldn"), "not"),
}

#: Words that point at something said before.
_BACK = "he she it they him her them his hers its their theirs this that these those there then one ones"
PRONOUNS = frozenset(_BACK.split())


def words(text: str) -> list[str]:
    """The words of ``text`` in order, stemmed."""
    return [stem for word in _raw(text) for stem in _stems(word)]


def content_words(text: str) -> list[str]:
    """The distinct words of ``text`` that carry meaning, in order, stemmed."""
    raw = [word for word in _raw(text) if word not in STOP_WORDS]
    return list(dict.fromkeys(stem for word in raw for stem in _stems(word)))


def asking(text: str) -> frozenset[str]:
    """What ``text`` asks for beside its content words: who, when, how many, not …

    >>> asking("When did Ahab die?") == asking("Where did Ahab die?")
    False
    """
    return frozenset(_ASKING[word] for word in _raw(text) if word in _ASKING)


def points_back(text: str) -> bool:
    """Whether ``text`` has a pronoun that may stand for something said earlier."""
    return any(word in PRONOUNS for word in _raw(text))


def numbers(terms: list[str]) -> set[str]:
    """The terms that hold a digit: years, counts, codes."""
    return {term for term in terms if any(c.isdigit() for c in term)}


def unspaced(text: str) -> int:
    """How many characters of ``text`` belong to scripts that put no spaces between words."""
    return 0 if text.isascii() else sum(map(len, _UNSPACED.findall(text)))


def _raw(text: str) -> list[str]:
    """Case-folded words without diacritics, apostrophes cut."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        text = _UNSPACED.sub(r" \1 ", text)
    return [word.replace("’", "'").replace("ʼ", "'").partition("'")[0] for word in _WORD.findall(text.casefold())]


@lru_cache(maxsize=1 << 16)
def _stems(word: str) -> tuple[str, ...]:
    if word.isascii():
        return (_stem(word),) if word.isalpha() else (word,)
    if _UNSPACED.fullmatch(word) and len(word) > 2:
        return tuple(word[i : i + 2] for i in range(len(word) - 1))
    return (word,)


def _stem(word: str) -> str:
    if len(word) <= 3:
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) >= 3 and _VOWEL.search(root):
            word = root[:-1] if root[-1] == root[-2] and root[-1] not in "lsz" else root
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
