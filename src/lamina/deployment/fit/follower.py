"""Follows what this process may use while it serves: a thread that sleeps, and looks every other second."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from lamina.deployment.engine.change import Change
from lamina.deployment.engine.engine import Engine
from lamina.deployment.fit.choice import FULL, LEAST_TOKENS, spare, surplus
from lamina.deployment.fit.fitter import Fitter

_log = logging.getLogger(__name__)
_POLL_S = 2.0
_CALM_S = 30.0  # without pressure, before caches grow again


class Follower:
    """Refits ``engines()`` (by version) where the limits change; where memory is short their caches shrink before
    anything fails, and grow again when it is not. ``close`` when done."""

    def __init__(self, fitter: Fitter, engines: Callable[[], Mapping[str, Engine]], *, poll_s: float = _POLL_S) -> None:
        self._fitter, self._engines, self._poll_s = fitter, engines, poll_s
        self._seen = fitter.limits()
        self._pressed = -_CALM_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="limits follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def make_room(self, *, wait_s: float = 1.0) -> None:
        """Before a version is loaded beside those that there are: caches give back what it will need, as far as they
        can, by the size of the largest."""
        engines, use = self._engines(), self._fitter.use()
        weights = max((self._fitter.fits[v].rates.weights for v in engines if v in self._fitter.fits), default=0)
        over = use.used + 2 * weights - int(FULL * use.limit)
        if over > 0:
            states = [engine.cache() for engine in engines.values()]
            self._shrink(engines, over, sum(state.touched * state.block_bytes for state in states))
            end = time.monotonic() + wait_s
            while self._fitter.use().used > use.used - over and time.monotonic() < end:
                time.sleep(wait_s / 20)

    def look(self) -> None:
        """Do what is to be done now."""
        engines, limits = self._engines(), self._fitter.limits()
        if limits != self._seen:
            self._seen = limits
            for version, engine in engines.items():
                self._fitter.refit(engine, version)
        use = self._fitter.use()
        states = {version: engine.cache() for version, engine in engines.items()}
        held = sum(state.touched * state.block_bytes for state in states.values())
        over = surplus(use.limit, use.used, use.stalled, held)
        if over > 0:
            self._shrink(engines, over, held)
        elif time.monotonic() - self._pressed >= _CALM_S:
            self._grow(engines, spare(use.limit, use.used))

    def _shrink(self, engines: Mapping[str, Engine], over: int, held: int) -> None:
        """Each gives back in proportion to what it holds; ``LEAST_TOKENS`` stay, without which nobody is answered."""
        self._pressed = time.monotonic()
        for version, engine in engines.items():
            state = engine.cache()
            own = over * state.touched // max(1, held) + 1
            least = -(-min(engine.longest, LEAST_TOKENS) // state.block_tokens)
            blocks = max(least, state.touched - own)
            if state.touched and blocks < state.limit:
                _log.warning("memory is short: %s keeps %d of %d blocks of its cache", version, blocks, state.limit)
                engine.adapt(Change(blocks=blocks))
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc gives back what is free already

    def _grow(self, engines: Mapping[str, Engine], room: int) -> None:
        """Towards what was chosen for each."""
        for version, engine in engines.items():
            state, fit = engine.cache(), self._fitter.fits.get(version)
            wanted = 0 if fit is None else max(1, fit.cache_bytes // state.block_bytes)
            if state.limit < wanted:
                # What may be used already and is not in memory yet counts, too.
                more = room // state.block_bytes - (state.limit - min(state.limit, state.touched))
                if more > 0:
                    engine.adapt(Change(blocks=min(wanted, state.limit + more)))

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.look()
            except Exception:
                _log.exception("the limits of this process could not be followed")
