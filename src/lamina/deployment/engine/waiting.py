"""Who waits, and who comes next: by priority, then in turn by key, so that nobody who asks much holds the others up.

Keys of one priority take turns with a deficit in tokens (deficit round robin: Shreedhar and Varghese 1995, "Efficient
fair queueing using deficit round robin"): a key pays for its prompts when they are taken up and for its answers when
they end, as long as it has more waiting. Sequences that were preempted come before new ones of their priority.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Iterator

from lamina.deployment.engine.sequence import Sequence

_QUANTUM = 512  # tokens that a key may take up in its turn


def rank(sequence: Sequence) -> tuple[int, int]:
    """What comes first is least: priority, then arrival."""
    return sequence.priority, sequence.turn


class _Level:
    """The keys of one priority, whose turn it is first."""

    def __init__(self) -> None:
        self.lines: OrderedDict[str, deque[Sequence]] = OrderedDict()
        self.deficits: dict[str, int] = {}
        self.visited: str | None = None  # whose turn has begun

    def head(self) -> Sequence:
        while True:
            key, line = next(iter(self.lines.items()))
            if self.visited != key:
                self.visited = key
                self.deficits[key] += _QUANTUM
            if self.deficits[key] >= len(line[0].tokens):
                return line[0]
            self.lines.move_to_end(key)
            self.visited = None

    def add(self, sequence: Sequence) -> None:
        self.lines.setdefault(sequence.key, deque()).append(sequence)
        self.deficits.setdefault(sequence.key, 0)

    def remove(self, sequence: Sequence) -> None:
        line = self.lines[sequence.key]
        line.remove(sequence)
        if not line:
            del self.lines[sequence.key], self.deficits[sequence.key]
            self.visited = None if self.visited == sequence.key else self.visited

    def take(self, sequence: Sequence) -> None:
        """``sequence`` is the head: its key has paid for it."""
        self.charge(sequence.key, len(sequence.tokens))
        self.remove(sequence)

    def charge(self, key: str, tokens: int) -> None:
        if key in self.deficits:
            self.deficits[key] -= tokens


class Waiting:
    """The queue. ``tokens``: that wait, of all keys together."""

    def __init__(self) -> None:
        self.tokens = 0
        self._returned: list[Sequence] = []  # preempted, by rank
        self._levels: dict[int, _Level] = {}
        self._count = 0
        self._by_key: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sequence]:
        yield from self._returned
        for level in self._levels.values():
            for line in level.lines.values():
                yield from line

    def share(self, key: str) -> tuple[int, int]:
        """(tokens of ``key`` that wait, keys that have something waiting, ``key`` among them)."""
        return self._by_key.get(key, 0), len(self._by_key | {key: 0})

    def add(self, sequence: Sequence) -> None:
        """A new one: the last of its key and priority."""
        self._levels.setdefault(sequence.priority, _Level()).add(sequence)
        self._counted(sequence, 1)

    def put_back(self, sequence: Sequence) -> None:
        """One that ran and was preempted."""
        insort(self._returned, sequence, key=rank)
        self._counted(sequence, 1)

    def head(self) -> Sequence | None:
        """Who comes next; the same until it is taken or somebody comes who is before it."""
        best = min(self._levels, default=None)
        if self._returned and (best is None or self._returned[0].priority <= best):
            return self._returned[0]
        return None if best is None else self._levels[best].head()

    def take(self, sequence: Sequence) -> None:
        """The head is taken up."""
        if sequence in self._returned:
            self.remove(sequence)
            return
        self._levels[sequence.priority].take(sequence)
        self._left(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Somebody gives up waiting."""
        if sequence in self._returned:
            self._returned.remove(sequence)
            self._counted(sequence, -1)
            return
        self._levels[sequence.priority].remove(sequence)
        self._left(sequence)

    def charge(self, sequence: Sequence) -> None:
        """An answer has ended: its key pays for it, if it has more waiting."""
        if sequence.priority in self._levels:
            self._levels[sequence.priority].charge(sequence.key, sequence.generated)

    def _left(self, sequence: Sequence) -> None:
        if not self._levels[sequence.priority].lines:
            del self._levels[sequence.priority]
        self._counted(sequence, -1)

    def _counted(self, sequence: Sequence, sign: int) -> None:
        tokens = sign * len(sequence.tokens)
        self._count += sign
        self.tokens += tokens
        left = self._by_key.get(sequence.key, 0) + tokens
        self._by_key[sequence.key] = left
        if not left:
            del self._by_key[sequence.key]
