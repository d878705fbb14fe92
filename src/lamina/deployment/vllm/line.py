"""Who waits for vLLM and who is with it: the house's queue before vLLM's own scheduler."""

from __future__ import annotations

from lamina.deployment.engine.roster import Roster
from lamina.deployment.engine.sequence import Sequence


class Line(Roster):
    """At most ``most`` sequences are with vLLM; the others wait here."""

    def take(self) -> Sequence | None:
        """Who goes to vLLM next; None where nobody waits or nobody more may."""
        head = self.waiting.head() if len(self.running) < self.most else None
        if head is not None:
            self._begin(head)
            self.running.append(head)
        return head
