"""A conversation written by a chat template and cut into spans: control tokens, text, and what the assistant says.

What people write may spell a control token. Before rendering each such spelling becomes a private-use character, and
after the rendered text is cut at the template's own control tokens it becomes itself again, now as plain text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from lamina.contracts.chat import Message
from lamina.kit.errors import LaminaError, ModelFileError
from lamina.kit.template import END, START, ChatTemplate

_PLACEHOLDERS = 0xF0000  # supplementary private use area A
_SPACE = " \t\n\r\f\v"
Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a rendered conversation. ``continues``: follows other text, not a control token or nothing."""

    text: str
    control: bool
    learned: bool
    continues: bool


class Conversation:
    """A chat template with the control tokens of its model. ``edges``: token to (lstrip, rstrip)."""

    def __init__(
        self,
        template: ChatTemplate,
        names: Mapping[str, str],
        controls: frozenset[str],
        edges: Mapping[str, tuple[bool, bool]],
    ) -> None:
        self._template = template
        self._names = dict(names)
        self._edges = edges
        ordered = sorted((c for c in controls if c), key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, [*ordered, START, END])))
        self._controls = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    @cached_property
    def turn_end(self) -> str | None:
        """The control token that follows an assistant's words; None where the template writes none."""
        probe = chr(_PLACEHOLDERS)
        try:
            text = self._write([{"role": "user", "content": "a"}, {"role": "assistant", "content": probe}], False)
        except LaminaError:
            return None
        text = text.replace(START, "").replace(END, "")
        if self._controls is None or probe not in text:
            return None
        rest = text[text.rindex(probe) + 1 :].lstrip(_SPACE)
        found = self._controls.match(rest)
        return found[0] if found else None

    def spans(self, messages: Sequence[Message], *, open_answer: bool) -> list[Span]:
        """The whole conversation. Raises ``InputError`` where the template refuses it."""
        rows, restore = self._escape(messages)
        text = self._write(rows, open_answer)
        if self._template.marks:
            text, learned = _unmark(text)
            learned = [self._through_end(text, interval) for interval in learned]
        else:
            learned = self._learned(rows, text)
        return list(self._cut(text, learned, restore))

    def _write(self, rows: Sequence[Mapping[str, str]], open_answer: bool) -> str:
        return self._template.render(rows, open_answer=open_answer, names=self._names)

    def _escape(self, messages: Sequence[Message]) -> tuple[list[dict[str, str]], dict[int, str]]:
        """Rows for the template, and what each placeholder stands for."""
        used = {c for m in messages for c in m.content if ord(c) >= _PLACEHOLDERS}
        free = (chr(n) for n in range(_PLACEHOLDERS, 0xFFFFE) if chr(n) not in used)
        given: dict[str, str] = {}

        def hide(match: re.Match[str]) -> str:
            if match[0] not in given:
                given[match[0]] = next(free)
            return given[match[0]]

        rows = [{"role": str(m.role), "content": self._spelled.sub(hide, m.content)} for m in messages]
        return rows, {ord(placeholder): spelled for spelled, placeholder in given.items()}

    def _learned(self, rows: list[dict[str, str]], text: str) -> list[Interval]:
        """Where the assistant speaks: what follows the header that opens an answer, through the end of the turn."""
        found = []
        for i, row in enumerate(rows):
            if row["role"] != "assistant":
                continue
            interval = self._after_prompt(rows, i, text)
            if interval is None:
                return self._by_marks(rows, text)
            found.append(interval)
        return found

    def _after_prompt(self, rows: list[dict[str, str]], i: int, text: str) -> Interval | None:
        try:
            prompt = self._write(rows[:i], True)
            if not text.startswith(prompt):
                return None
            if self.turn_end is not None:
                end = text.find(self.turn_end, len(prompt))
                return None if end < 0 else (len(prompt), end + len(self.turn_end))
            through = self._write(rows[: i + 1], False)
        except LaminaError:
            return None
        return (len(prompt), len(through)) if text.startswith(through) and len(through) >= len(prompt) else None

    def _by_marks(self, rows: list[dict[str, str]], text: str) -> list[Interval]:
        """For templates that write a turn differently once it is history: look where its words come out."""
        marked = [{**row, "content": _surround(row["content"])} if row["role"] == "assistant" else row for row in rows]
        for open_answer in (False, True):
            clean, intervals = _unmark(self._write(marked, open_answer))
            if clean == text:
                return [self._through_end(text, interval) for interval in intervals]
        raise ModelFileError(
            "the chat template does not show which part of a conversation is the assistant's",
            where=self._template.where,
            hint="mark it in the template with {% generation %}",
        )

    def _through_end(self, text: str, interval: Interval) -> Interval:
        start, end = interval
        if self.turn_end is None or text[start:end].rstrip(_SPACE).endswith(self.turn_end):
            return interval
        space = len(text[end:]) - len(text[end:].lstrip(_SPACE))
        return (start, end + space + len(self.turn_end)) if text.startswith(self.turn_end, end + space) else interval

    def _cut(self, text: str, learned: list[Interval], restore: Mapping[int, str]) -> Iterable[Span]:
        """Cut at control tokens and where learned parts begin and end."""
        edges = sorted({edge for interval in learned for edge in interval})
        after_text = False
        for start, end, control in self._pieces(text):
            if control:
                yield Span(text[start:end], True, _inside(learned, start), False)
                after_text = False
                continue
            cuts = [start, *(e for e in edges if start < e < end), end]
            for a, b in pairwise(cuts):
                yield Span(text[a:b].translate(dict(restore)), False, _inside(learned, a), after_text)
                after_text = True

    def _pieces(self, text: str) -> Iterable[tuple[int, int, bool]]:
        """(start, end, control) in order, without the white space that a token's edges swallow."""
        at = 0
        for match in self._controls.finditer(text) if self._controls else ():
            left, right = self._edges.get(match[0], (False, False))
            start, end = match.span()
            plain = text[at:start].rstrip(_SPACE) if left else text[at:start]
            if plain:
                yield at, at + len(plain), False
            yield start, end, True
            at = end + (len(text[end:]) - len(text[end:].lstrip(_SPACE)) if right else 0)
        if at < len(text):
            yield at, len(text), False


def _surround(content: str) -> str:
    """Marks around the words, inside the white space that a template may trim."""
    words = content.strip()
    if not words:
        return content + START + END
    head = content[: len(content) - len(content.lstrip())]
    return head + START + words + END + content[len(head) + len(words) :]


def _unmark(text: str) -> tuple[str, list[Interval]]:
    """The text without marks, and the intervals that they enclosed."""
    pieces: list[str] = []
    intervals: list[Interval] = []
    size, start = 0, None
    for piece in re.split(f"([{START}{END}])", text):
        if piece == START:
            start = size
        elif piece == END:
            if start is not None:
                intervals.append((start, size))
            start = None
        else:
            pieces.append(piece)
            size += len(piece)
    return "".join(pieces), intervals


def _inside(intervals: list[Interval], at: int) -> bool:
    n = bisect_right(intervals, (at, 1 << 62)) - 1
    return n >= 0 and intervals[n][0] <= at < intervals[n][1]
