"""WhatsApp's "export chat": a text file of lines with date, time and name, written as the telephone writes dates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from lamina.data.readers.posts import Post
from lamina.data.social.threads import Thread
from lamina.kit.errors import DocumentError

_LINE = re.compile(
    r"\[?(\d{1,4})([./-])(\d{1,2})\2(\d{1,4}),?\s{1,3}(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?"
    r"(?:\s?([AaPp])\.?\s?[Mm]\.?)?(?:\]|\s-)\s(.*)"
)
_SAID = re.compile(r"([^:\n]{1,100}): (.*)", re.DOTALL)
_NAMED = re.compile("@\u2068([^\u2069\n]{1,100})\u2069")
_MARKS = str.maketrans({"\u200e": None, "\u200f": None, "\u202a": None, "\u202c": None, "\u202f": " ", "\u00a0": " "})
_NO_TEXT = re.compile(
    r"<[^<>\n]{3,60}>|(?:image|video|audio|sticker|GIF|document|Contact card) omitted|<attached: .{1,200}>"
    r"|(?:This message was|You) deleted(?: this message)?\.?|null",
    re.IGNORECASE,
)


def is_export(text: str) -> bool:
    """Whether a text begins as a chat does."""
    return any(_LINE.match(line.translate(_MARKS)) for line in text[:4000].split("\n")[:5])


def exported(text: str) -> Iterator[Thread]:
    """The chat as a stream of messages; lines without a name are about the chat itself. Times have no zone: UTC."""
    found: list[tuple[re.Match[str], list[str]]] = []
    for raw in text.split("\n"):
        line = raw.rstrip("\r").translate(_MARKS)
        match = _LINE.match(line)
        if match:
            found.append((match, [match[9]]))
        elif found:
            found[-1][1].append(line)
    order = _order([match for match, _ in found])
    people: dict[str, str] = {}
    posts = []
    for number, (match, lines) in enumerate(found):
        said = _SAID.fullmatch("\n".join(lines))
        if said is None:
            continue
        body = said[2].strip()
        mentions = tuple(_NAMED.findall(body))
        text_ = None if _NO_TEXT.fullmatch(body) else _NAMED.sub(r"@\1", body)
        people.setdefault(said[1], said[1])
        when = _when(match, order)
        posts.append(
            Post(id=str(number), parent=None, text=text_ or None, author=said[1], created=when, mentions=mentions)
        )
    if not posts:
        raise DocumentError("holds no messages")
    yield Thread(key="chat", posts=posts, known=people, facts={"network": "whatsapp"}, channel=True)


def _order(lines: Sequence[re.Match[str]]) -> str:
    """Whether days or months come first: what no date contradicts; American where clocks have AM and PM."""
    if any(len(line[1]) == 4 for line in lines):
        return "ymd"
    if any(int(line[1]) > 12 for line in lines):
        return "dmy"
    if any(int(line[3]) > 12 for line in lines):
        return "mdy"
    return "mdy" if any(line[8] and line[2] == "/" for line in lines) else "dmy"


def _when(line: re.Match[str], order: str) -> datetime | None:
    numbers = dict(zip(order, (int(line[1]), int(line[3]), int(line[4])), strict=True))
    year = numbers["y"] + (2000 if numbers["y"] < 100 else 0)
    hour = int(line[5])
    if line[8]:
        hour = hour % 12 + (12 if line[8] in "pP" else 0)
    try:
        return datetime(year, numbers["m"], numbers["d"], hour, int(line[6]), int(line[7] or 0))
    except ValueError:
        return None
