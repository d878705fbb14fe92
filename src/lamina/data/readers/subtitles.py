"""Subtitles (SubRip, WebVTT) as running text: without numbers, times and marks, a pause begins a paragraph."""

from __future__ import annotations

import html
import re

from lamina.kit.errors import DocumentError

PAUSE_S = 4.0  # of silence that begins a paragraph
_TIMES = re.compile(
    r"^[ \t]*(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})[ \t]*-->[ \t]*(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
)
_MARKS = re.compile(
    r"</?[A-Za-z0-9][^<>]{0,200}>|\{\\[^{}]{0,200}\}|^[ \t]*(?:-|\u2013)[ \t]*(?=\S)|[\u266a\u266b#]{1,3}"
)


def spoken(text: str) -> str:
    """What the subtitles in ``text`` say; a line that the one before ended with (rolling captions) is said once.

    >>> spoken(
    ...     "1\\n00:00:01,000 --> 00:00:02,000\\n<i>Call me</i>\\n\\n2\\n00:00:02,100 --> 00:00:03,000\\nIshmael.\\n"
    ... )
    'Call me Ishmael.'
    """
    paragraphs: list[list[str]] = [[]]
    ended, before, cues = 0.0, "", 0
    for block in re.split(r"\n[ \t]*\n+", text.replace("\r\n", "\n").replace("\r", "\n").strip("\ufeff\n")):
        lines = block.split("\n")
        place = next((n for n, line in enumerate(lines[:3]) if _TIMES.match(line)), None)
        if place is None:
            continue  # a heading, a note, a style
        cues += 1
        times = _TIMES.match(lines[place])
        assert times is not None  # found above
        start, end = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
        for line in lines[place + 1 :]:
            said = " ".join(html.unescape(_MARKS.sub("", line)).split())
            if not said or said == before:
                continue
            if paragraphs[-1] and start - ended > PAUSE_S:
                paragraphs.append([])
            paragraphs[-1].append(said)
            before, ended = said, max(end, ended)
        ended = max(end, ended)
    if not cues:
        raise DocumentError("holds no subtitles: no line gives a time")
    return "\n\n".join(" ".join(paragraph) for paragraph in paragraphs if paragraph)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, rest = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + int((rest or "0").ljust(3, "0")) / 1000
