"""A conversation written by a chat template and cut into spans: control tokens, text, and what the assistant says.

What people write may spell a control token. Before rendering each such spelling becomes a private-use character, and
after the rendered text is cut at the template's own control tokens it becomes itself again, now as plain text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from lamina.contracts.chat import Message, Tool
from lamina.kit.errors import LaminaError, ModelFileError
from lamina.kit.template import END, START, ChatTemplate
from lamina.kit.tool_rows import Rows, ToolForm, leaves, mapped, row_of, tool_form

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

    @property
    def tool_form(self) -> ToolForm | None:
        """How the template has an assistant write calls of tools; None where it has no place for tools."""
        return tool_form(self._template)

    def spans(self, messages: Sequence[Message], *, open_answer: bool, tools: Sequence[Tool] = ()) -> list[Span]:
        """The whole conversation. Raises ``InputError`` where the template refuses it."""
        given: list[dict[str, Any]] = [json.loads(tool.definition) for tool in tools]
        (rows, given), restore = self._escape([row_of(m) for m in messages], given)
        text = self._write(rows, open_answer, given)
        if self._template.marks:
            text, learned = _unmark(text)
            learned = [self._through_end(text, interval) for interval in learned]
        else:
            learned = self._learned(rows, text, given)
        return list(self._cut(text, learned, restore))

    def _write(
        self, rows: Sequence[Mapping[str, Any]], open_answer: bool, tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        return self._template.render(rows, open_answer=open_answer, names=self._names, tools=tools)

    def _escape(self, *lists: Rows) -> tuple[tuple[Rows, ...], dict[int, str]]:
        """Rows for the template, and what each placeholder stands for."""
        used = {c for text in leaves(lists) for c in text if ord(c) >= _PLACEHOLDERS}
        free = (chr(n) for n in range(_PLACEHOLDERS, 0xFFFFE) if chr(n) not in used)
        given: dict[str, str] = {}

        def hide(match: re.Match[str]) -> str:
            if match[0] not in given:
                given[match[0]] = next(free)
            return given[match[0]]

        hidden: tuple[Rows, ...] = mapped(lists, lambda text: self._spelled.sub(hide, text))
        return hidden, {ord(placeholder): spelled for spelled, placeholder in given.items()}

    def _learned(self, rows: Rows, text: str, tools: Rows) -> list[Interval]:
        """Where the assistant speaks: what follows the header that opens an answer, through the end of the turn."""
        found = []
        for i, row in enumerate(rows):
            if row["role"] != "assistant":
                continue
            interval = self._after_prompt(rows, i, text, tools)
            if interval is None:
                return self._by_marks(rows, text, tools)
            found.append(interval)
        return found

    def _after_prompt(self, rows: Rows, i: int, text: str, tools: Rows) -> Interval | None:
        try:
            prompt = self._write(rows[:i], True, tools)
            if not text.startswith(prompt):
                return None
            if self.turn_end is not None:
                end = text.find(self.turn_end, len(prompt))
                return None if end < 0 else (len(prompt), end + len(self.turn_end))
            through = self._write(rows[: i + 1], False, tools)
        except LaminaError:
            return None
        return (len(prompt), len(through)) if text.startswith(through) and len(through) >= len(prompt) else None

    def _by_marks(self, rows: Rows, text: str, tools: Rows) -> list[Interval]:
        """For templates that write a turn differently once it is history: look where its words come out."""
        marked = [{**row, "content": _surround(row["content"])} if row["role"] == "assistant" else row for row in rows]
        for open_answer in (False, True):
            clean, intervals = _unmark(self._write(marked, open_answer, tools))
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
