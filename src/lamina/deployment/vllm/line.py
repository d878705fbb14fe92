"""Who waits for vLLM and who is with it: the house's queue before vLLM's own scheduler."""

from __future__ import annotations

from lamina.deployment.engine.pace import Pace
from lamina.deployment.engine.sequence import Sequence, State
from lamina.deployment.engine.waiting import Waiting


class Line:
    """At most ``most`` sequences are with vLLM; the others wait here, where keys take turns and priorities count."""

    def __init__(self, most: int) -> None:
        self.waiting = Waiting()
        self.running: list[Sequence] = []
        self.pace = Pace()
        self._most = most
        self._arrived = 0

    def add(self, sequence: Sequence) -> None:
        """The last of its key and priority."""
        self._arrived += 1
        sequence.turn = self._arrived
        self.waiting.add(sequence)
        self.pace.waiting(True)

    def take(self) -> Sequence | None:
        """Who goes to vLLM next; None where nobody waits or nobody more may."""
        head = self.waiting.head() if len(self.running) < self._most else None
        if head is None:
            return None
        self.waiting.take(head)
        self.pace.took(len(head.tokens))
        self.pace.waiting(len(self.waiting) > 0)
        head.state = State.RUNNING
        self.running.append(head)
        return head

    def remove(self, sequence: Sequence) -> None:
        """The one way out, wherever it is."""
        if sequence.state is State.FINISHED:
            return
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self.waiting.charge(sequence)
        else:
            self.waiting.remove(sequence)
        sequence.state = State.FINISHED
        self.pace.waiting(len(self.waiting) > 0)
