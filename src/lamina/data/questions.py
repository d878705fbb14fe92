"""Questions whose answers are in a document, made from its title and its opening by rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

OPENING_CHARS = 400
PASSAGE_CHARS = 600
_TITLE_CHARS = 80
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9À-Þ])")
#: Full stops that end no sentence: titles, initials, the usual short forms.
_NO_END = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|Gen|Col|Capt|Jr|Sr|vs|c|ca|cf|e\.g|i\.e|etc|No|Vol|Fig|[A-Z]))\.$")
_ABOUT = ("Tell me about {}.", "What do you know about {}?", "What can you tell me about {}?", "Describe {}.")
_BEGINS = ("How does “{}” begin?", "What are the opening lines of “{}”?", "Quote the beginning of “{}”.")
_PERSON = re.compile(
    r"\b(is|was) (?:an?|the) (?:[^.,;]{0,60}\W)?(?:"
    r"actor|actress|architect|artist|astronaut|astronomer|author|biologist|boxer|businessman|chemist|"
    r"coach|comedian|composer|conductor|director|economist|emperor|engineer|explorer|film-?maker|"
    r"footballer|general|guitarist|historian|inventor|journalist|king|lawyer|mathematician|model|"
    r"monarch|musician|novelist|painter|philosopher|physician|physicist|pianist|playwright|poet|"
    r"politician|polymath|player|pope|president|prophet|psychologist|queen|rapper|ruler|saint|scholar|"
    r"scientist|sculptor|singer|soldier|songwriter|statesman|theologian|tsar|writer"
    r")s?\b"
)
_CONTINUE = ("Continue this text: {}", "What comes after this? {}", "Go on from here: {}")


class Question(NamedTuple):
    """A question, and the words of the document that answer it."""

    question: str
    answer: str


def sentences(text: str) -> list[str]:
    """The sentences of the beginning of ``text`` (its first 2,000 characters, as one line each)."""
    flat = " ".join(text[:2000].split())
    found: list[str] = []
    begin = 0
    for match in _SENTENCE_END.finditer(flat):
        piece = flat[begin : match.start()]
        if _NO_END.search(piece):
            continue
        found.append(flat[begin : match.end()].strip())
        begin = match.end()
    rest = flat[begin:].strip()
    # What the cut at 2,000 characters left over is no sentence.
    return found if found and len(text) > 2000 else [*found, *([rest] if rest else [])]


def opening(text: str, limit: int = OPENING_CHARS) -> str:
    """The first sentences of ``text`` that fit into ``limit`` characters; one at least, cut at a word if it must be."""
    kept = ""
    for sentence in sentences(text):
        joined = f"{kept} {sentence}".strip()
        if len(joined) > limit:
            break
        kept = joined
    if kept:
        return kept
    flat = " ".join(text[: limit + 1].split())
    return flat if len(flat) <= limit else flat[:limit].rsplit(" ", 1)[0] + " …"


def about(title: str, text: str, draw: int) -> Question | None:
    """A question on the title and the opening as its answer; None for a title that nobody would ask about.

    Where the opening speaks of the title it is asked what that is, else how the text begins. ``draw`` varies the words.
    """
    name = " ".join(title.split()).rstrip(".")
    if not 2 <= len(name) <= _TITLE_CHARS or not any(c.isalpha() for c in name):
        return None
    first = sentences(text)[:1]
    if not first:
        return None
    answer = opening(text)
    # A person's name may be written out: "Franz Anton Beckenbauer" for "Franz Beckenbauer".
    spoken_of = bare(name).casefold().split()[-1] in first[0].casefold()
    if not spoken_of:
        return Question(_BEGINS[draw % len(_BEGINS)].format(name), answer)
    person = _PERSON.search(first[0])
    if person and draw % 4 != 3:
        return Question(f"Who {person[1]} {bare(name)}?", answer)
    subject = _subject(name, first[0])
    if subject and draw % 2 == 0:
        return Question(f"What {subject[1]} {subject[0]}?", answer)
    return Question(_ABOUT[draw // 2 % len(_ABOUT)].format(name), answer)


def continuing(text: str, draw: int) -> Question | None:
    """The first sentence, to be gone on with; None where a text has but one."""
    found = sentences(text)
    if len(found) < 2:
        return None
    answer = opening(" ".join(found[1:]))
    return Question(_CONTINUE[draw % len(_CONTINUE)].format(found[0]), answer)


def defining(title: str, text: str) -> Question | None:
    """From "X is the tallest …": "What is the tallest …?", answered by that sentence; None where there is no such."""
    first = sentences(text)[:1]
    name = re.escape(bare(" ".join(title.split()).rstrip(".")))
    if not first or not name:
        return None
    match = re.match(rf"(?:The )?(?i:{name})\b[^.;]{{0,60}}? (is|was) (the [^.;,()]{{8,90}})[.,;]", first[0])
    return Question(f"What {match[1]} {match[2].strip()}?", first[0]) if match else None


def bare(title: str) -> str:
    """A title without what stands in brackets to tell it from others: "Mercury (planet)" is about Mercury."""
    return re.sub(r"\s*\([^()]*\)\s*$", "", title) or title


def passage(text: str) -> str:
    """The beginning of a document as it would be quoted to the model."""
    return opening(text, PASSAGE_CHARS)


def conversation(messages: Sequence[dict[str, str]], limit: int) -> list[dict[str, str]]:
    """The longest beginning, in ``limit`` characters, of turns that alternate and end with the assistant's."""
    kept: list[dict[str, str]] = []
    size = 0
    for turn in messages:
        role, said = turn.get("role"), turn.get("content")
        wanted = "assistant" if len(kept) % 2 else "user"
        if role != wanted or not isinstance(said, str) or not said.strip() or (size := size + len(said)) > limit:
            break
        kept.append({"role": role, "content": said.strip()})
    return kept[: len(kept) // 2 * 2]


def _subject(name: str, sentence: str) -> tuple[str, str] | None:
    """The name as the sentence begins with it, article included, and the verb that follows."""
    start = rf"(?:(The|A|An) )?((?i:{re.escape(bare(name))}))\b[^.;]{{0,120}}?\b(is|are|was|were)\b"
    match = re.match(start, sentence)
    if match is None:
        return None
    return f"{match[1].lower()} {match[2]}" if match[1] else match[2], match[3]
