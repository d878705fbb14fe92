"""How much may wait: tokens that the queue holds, and seconds that somebody waits for its turn."""

from __future__ import annotations

from typing import Protocol

from lamina.deployment.engine.pace import Pace
from lamina.deployment.engine.sequence import Sequence
from lamina.deployment.engine.waiting import Waiting
from lamina.kit.errors import QueueFullError

_WEIGHT = 0.05  # of a prompt in the mean of their lengths


class Queued(Protocol):
    """Whoever lets requests wait: ``Scheduler``, for one."""

    waiting: Waiting
    pace: Pace

    @property
    def idle(self) -> int:
        """How many more would not have to wait."""
        ...


class Room:
    """The room in the queue of ``scheduler``: ``tokens``, and no more than leave it in ``seconds`` by measurement.

    Whoever would wait longer is refused at once and told when there will be room (load shedding): what is admitted
    keeps its time, whatever is offered, and nothing is computed for answers that come too late.
    """

    def __init__(self, scheduler: Queued, tokens: int, seconds: float | None) -> None:
        self._scheduler, self._tokens, self._seconds = scheduler, tokens, seconds
        self._usual = 0.0  # tokens of a prompt

    @property
    def tokens(self) -> int:
        """That may wait now."""
        rate = self._scheduler.pace.rate() if self._seconds is not None else None
        return self._tokens if rate is None else min(self._tokens, int(rate * (self._seconds or 0.0)))

    def check(self, key: str, size: int, *, coming: int = 0) -> None:
        """Raise ``QueueFullError`` where ``size`` tokens of ``key`` have no room. A key has room for its share, and so
        has whoever finds nobody waiting. ``coming`` requests more, of the usual length, will soon wait: those that do
        not run at once."""
        queue, room = self._scheduler.waiting, self.tokens
        waiting = queue.tokens + int(max(0, coming - self._scheduler.idle) * self._usual)
        over = waiting + size - room
        if not waiting or over <= 0:
            return
        own, keys = queue.share(key)
        if keys > 1 and own + size <= room // keys:
            return
        raise self._refusal(over, room)

    def admit(self, key: str, size: int) -> None:
        """``check``, and remember the length."""
        self.check(key, size)
        self._usual += (size - self._usual) * _WEIGHT

    def late(self, sequence: Sequence, now: float) -> QueueFullError | None:
        """The refusal of one that has waited in vain; None of any other."""
        if self._seconds is None or sequence.patient or not sequence.untouched:
            return None
        if now - sequence.arrived <= self._seconds:
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
