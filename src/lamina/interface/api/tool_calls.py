"""Calls of tools in an answer as it streams: what stands between ``<tool_call>`` and ``</tool_call>``.

One object or a list of them, each with ``name`` and ``arguments``. Where the name comes first, as templates write it,
the arguments are handed on as they come; else when the object is whole. What is no call stays text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_HEAD = re.compile(r'\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\S)')
_BETWEEN = " \t\r\n,[]"


@dataclass(slots=True)
class Call:
    """A call; ``arguments`` grows."""

    index: int
    name: str
    id: str = field(default_factory=lambda: f"call_{uuid4().hex[:24]}")
    arguments: str = ""


@dataclass(slots=True)
class Pieces:
    """What a piece of an answer adds: text, calls that begin, and (call, arguments) that go on."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    arguments: list[tuple[Call, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.calls or self.arguments)


class ToolCalls:
    """Parses one answer. ``calls`` so far."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._held = ""  # not yet understood
        self._inside = False  # between the tags
        self._before = 0  # calls before these tags
        self._object = _Object()
        self._current: Call | None = None

    def push(self, text: str) -> Pieces:
        """Take the next piece of the answer in."""
        self._held += text
        pieces = Pieces()
        while self._step(pieces):
            pass
        return pieces

    def finish(self) -> Pieces:
        """The end: what was held back and is no call is text."""
        pieces = Pieces()
        if self._inside and self._current is None and (self._object.text or self._before == len(self.calls)):
            pieces.text = _OPEN + self._object.text + self._held
        elif not self._inside:
            pieces.text = self._held if self._held.strip() or not self.calls else ""
        self._held = ""
        return pieces

    def _step(self, pieces: Pieces) -> bool:
        """Understand one thing more of what is held; False where more is needed."""
        if not self._inside:
            return self._outside(pieces)
        if not self._object.text:
            self._held = self._held.lstrip(_BETWEEN)
            if self._held.startswith(_CLOSE):
                self._held, self._inside = self._held[len(_CLOSE) :], False
                return True
            if not self._held or _CLOSE.startswith(self._held):
                return False
            if not self._held.startswith("{"):  # no call after all
                pieces.text += _OPEN
                self._inside = False
                return True
        return self._in_object(pieces)

    def _outside(self, pieces: Pieces) -> bool:
        place = self._held.find(_OPEN)
        if place >= 0:
            text, self._held, self._inside = self._held[:place], self._held[place + len(_OPEN) :], True
            pieces.text += text.rstrip()
            self._before = len(self.calls)
            return True
        keep = next((n for n in range(len(_OPEN) - 1, 0, -1) if self._held.endswith(_OPEN[:n])), 0)
        ready = len(self._held[: len(self._held) - keep].rstrip())  # white space before a call is left out
        pieces.text, self._held = pieces.text + self._held[:ready], self._held[ready:]
        return False

    def _in_object(self, pieces: Pieces) -> bool:
        taken = self._object.take(self._held)
        self._held = self._held[taken:]
        if self._current is None:
            head = _HEAD.match(self._object.text)
            if head:
                self._current = self._begin(json.loads(head[1]), pieces)
                self._object.read = head.end()
        if self._current is not None:
            self._go_on(self._current, self._object.value(), pieces)
        if not self._object.whole:
            return False
        if self._current is None:
            self._whole(pieces)
        self._object, self._current = _Object(), None
        return True

    def _whole(self, pieces: Pieces) -> None:
        """An object whose name does not come first."""
        try:
            found: Any = json.loads(self._object.text)
            name, arguments = found["name"], found.get("arguments", found.get("parameters", {}))
        except (ValueError, KeyError, TypeError):
            pieces.text += _OPEN + self._object.text
            self._inside = False
            return
        self._go_on(self._begin(str(name), pieces), json.dumps(arguments, ensure_ascii=False), pieces)

    def _begin(self, name: str, pieces: Pieces) -> Call:
        call = Call(len(self.calls), name)
        self.calls.append(call)
        pieces.calls.append(call)
        return call

    def _go_on(self, call: Call, text: str, pieces: Pieces) -> None:
        if text:
            call.arguments += text
            pieces.arguments.append((call, text))


class _Object:
    """A JSON object as it comes: where it ends, and a value in it that is read from ``read`` on."""

    def __init__(self) -> None:
        self.text = ""
        self.whole = False
        self.read = 0
        self._nested = self._closed = False
        self._depths: list[int] = []  # nesting after each character
        self._in_string = self._escaped = False

    def take(self, text: str) -> int:
        """How many characters of ``text`` belong to the object."""
        for place, character in enumerate(text):
            depth = self._depths[-1] if self._depths else 0
            if self._in_string:
                if not self._escaped and character == '"':
                    self._in_string = False
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = True
            else:
                depth += (character in "{[") - (character in "}]")
            self._depths.append(depth)
            if depth <= 0:
                self.whole = True
                self.text += text[: place + 1]
                return place + 1
        self.text += text
        return len(text)

    def value(self) -> str:
        """What has come of the value since the last time; it ends where its own nesting does, or the object."""
        start = self.read
        while self.read < len(self.text) and not self._closed:
            depth = self._depths[self.read]
            if depth < 1:
                self._closed = True
                break
            self._closed = self._nested and depth == 1
            self._nested = self._nested or depth > 1
            self.read += 1
        return self.text[start : self.read]
