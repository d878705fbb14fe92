"""How much may wait: tokens that the queue holds, and seconds that somebody waits for its turn."""

from __future__ import annotations

from lamina.deployment.engine.scheduler import Scheduler
from lamina.deployment.engine.sequence import Sequence
from lamina.kit.errors import QueueFullError


class Room:
    """The room in the queue of ``scheduler``: ``tokens``, and no more than leave it in ``seconds`` by measurement.

    Whoever would wait longer is refused at once and told when there will be room (load shedding): what is admitted
    keeps its time, whatever is offered, and nothing is computed for answers that come too late.
    """

    def __init__(self, scheduler: Scheduler, tokens: int, seconds: float | None) -> None:
        self._scheduler, self._tokens, self._seconds = scheduler, tokens, seconds

    @property
    def tokens(self) -> int:
        """That may wait now."""
        rate = self._scheduler.pace.rate() if self._seconds is not None else None
        return self._tokens if rate is None else min(self._tokens, int(rate * (self._seconds or 0.0)))

    def check(self, sequence: Sequence) -> None:
        """Raise ``QueueFullError`` where ``sequence`` has no room. A key has room for its share; so has the first."""
        queue, size, room = self._scheduler.waiting, len(sequence.tokens), self.tokens
        over = queue.tokens + size - room
        if not queue.tokens or over <= 0:
            return
        own, keys = queue.share(sequence.key)
        if keys > 1 and own + size <= room // keys:
            return
        raise self._refusal(over, room)

    def late(self, sequence: Sequence, now: float) -> QueueFullError | None:
        """The refusal of one that has waited in vain; None of any other."""
        if self._seconds is None or not sequence.untouched or now - sequence.arrived <= self._seconds:
            return None
        return self._refusal(self._scheduler.waiting.tokens, self.tokens)

    def _refusal(self, over: int, room: int) -> QueueFullError:
        """With the time in which ``over`` tokens leave the queue."""
        seconds = self._scheduler.pace.seconds(over)
        error = QueueFullError(
            f"{self._scheduler.waiting.tokens} tokens of other requests are waiting; the queue holds {room}",
            hint=f"ask again in about {seconds:.1f} s",
        )
        error.retry_after = seconds
        return error
