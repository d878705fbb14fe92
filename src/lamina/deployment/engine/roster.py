"""Who waits and who runs, whoever computes their tokens."""

from __future__ import annotations

from lamina.deployment.engine.pace import Pace
from lamina.deployment.engine.sequence import Sequence, State
from lamina.deployment.engine.waiting import Waiting


class Roster:
    """Sequences from their arrival to their end, at most ``most`` of them running: keys take turns, priorities count,
    and the pace is told."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting = Waiting()
        self.running: list[Sequence] = []
        self.pace = Pace()
        self._arrived = 0

    @property
    def idle(self) -> int:
        """How many more would not have to wait; none where somebody waits, for whatever there is too little of."""
        return 0 if len(self.waiting) else max(0, self.most - len(self.running))

    def add(self, sequence: Sequence) -> None:
        """The last of its key and priority."""
        self._arrived += 1
        sequence.turn = self._arrived
        self.waiting.add(sequence)
        self.pace.waiting(True)

    def remove(self, sequence: Sequence) -> None:
        """Take ``sequence`` out, wherever it is, and free what it holds. The one way out."""
        if sequence.state is State.FINISHED:
            return
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self.waiting.charge(sequence)
        else:
            self.waiting.remove(sequence)
        self._free(sequence)
        sequence.state = State.FINISHED
        self.pace.waiting(len(self.waiting) > 0)

    def _begin(self, sequence: Sequence) -> None:
        """The head of the queue runs from now on; where among ``running`` is for the caller."""
        self.waiting.take(sequence)
        self.pace.took(len(sequence.tokens))
        self.pace.waiting(len(self.waiting) > 0)
        sequence.state = State.RUNNING

    def _free(self, sequence: Sequence) -> None:
        """Let go of what ``sequence`` holds."""
