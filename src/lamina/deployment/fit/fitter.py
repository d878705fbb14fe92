"""Fits engines to what this process may use: once when they are loaded, then as its limits change."""

from __future__ import annotations

import json
import logging
import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lamina import __version__
from lamina.deployment.engine.cache import bytes_per_token
from lamina.deployment.engine.change import Change
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.native import binding
from lamina.deployment.fit.choice import MOST_SEQUENCES, Choice, Goal, cache_bytes, choose
from lamina.deployment.fit.measuring import Rates, measure, weights_of
from lamina.deployment.fit.proofs import Proofs
from lamina.kit.durable import atomic_write
from lamina.kit.errors import CorruptError
from lamina.kit.identity import blake3_hex
from lamina.kit.limits import (
    Limits,
    MemoryUse,
    allowed_threads,
    busy,
    memory_use,
    processor_flags,
    processor_name,
    read_limits,
)
from lamina.model.transformer import Transformer

_log = logging.getLogger(__name__)
_MB = 2**20
_STRICT = Path("/proc/sys/vm/overcommit_memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How one engine was fitted, for whoever explains it."""

    limits: Limits
    rates: Rates
    choice: Choice
    most_threads: int
    cache_bytes: int
    cache_why: str
    need: int  # bytes of keys and values of all sequences at their longest
    used: int  # bytes without a cache
    context: int
    measured: bool  # now, not read

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Fitter:
    """``goal``: the stated bounds; ``given``: ``max_sequences``, ``cache_mb`` and ``threads`` of the stack file, which
    stand; ``folder``: where rates are kept, by machine and form of model, and proofs."""

    def __init__(
        self,
        folder: Path,
        *,
        goal: Goal,
        given: Mapping[str, int | None],
        limits: Callable[[], Limits] = read_limits,
        use: Callable[[], MemoryUse] = memory_use,
        threads: Callable[[], int] = allowed_threads,
    ) -> None:
        self._folder, self.goal, self._given = folder, goal, dict(given)
        self.proofs = Proofs(folder)
        self.limits, self.use, self._threads = limits, use, threads
        self.fits: dict[str, Fit] = {}  # by version
        self._measured: dict[Path, Rates] = {}  # by this process, whether or not it is kept

    def options(self, model: Transformer, options: Mapping[str, Any]) -> dict[str, Any]:
        """An engine's options before anything is measured: addresses for the largest cache that it may ever have.

        Memory comes only as blocks are written to, so that the cache may grow where a limit is raised.
        """
        longest = min(options.get("context") or model.spec.max_positions, model.spec.max_positions)
        sequences = self._given.get("max_sequences") or MOST_SEQUENCES
        token = bytes_per_token(model, options.get("cache"))
        need = sequences * longest * token
        found = {"max_sequences": sequences}
        if not self._given.get("cache_mb"):
            most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
            if _strict():
                most = cache_bytes(self.limits(), used=self.use().used, weights=0, need=need, token=token)[0]
            found["cache_mb"] = max(1, -(-min(need, most) // _MB))
        return {**options, **found}

    def fit(self, engine: Engine, version: str) -> Fit:
        """Measure ``engine``, of which nobody asked anything yet (or read what was measured), choose, and set it so."""
        limits, threads = self.limits(), self._given.get("threads") or self._threads()
        rates, fresh = self._rates(engine, threads)
        fit = self._settled(engine, rates, limits, threads, fresh)
        self.fits[version] = fit
        engine.adapt(_change(fit, engine))
        _log.info("%s: %s", version, in_words(fit))
        return fit

    def refit(self, engine: Engine, version: str) -> None:
        """The limits have changed: choose again from what is known of ``engine``; nothing is measured."""
        old = self.fits.get(version)
        if old is None:
            return
        limits, threads = self.limits(), self._given.get("threads") or self._threads()
        rates = self._kept(self._place(engine, threads)) or _scaled(old.rates, threads)
        fit = self._settled(engine, rates, limits, threads, False)
        self.fits[version] = fit
        engine.adapt(_change(fit, engine))
        _log.info("%s follows its limits: %s", version, in_words(fit))

    def _settled(self, engine: Engine, rates: Rates, limits: Limits, threads: int, fresh: bool) -> Fit:
        choice = choose(
            rates,
            goal=self.goal,
            sequences=self._given.get("max_sequences"),
            threads=self._given.get("threads"),
        )
        cache = engine.cache()
        used = max(0, self.use().used - cache.touched * cache.block_bytes) + cache.coming
        need = choice.sequences * engine.longest * rates.store
        if given := self._given.get("cache_mb"):
            size, why = given * _MB, "given in the stack file"
        else:
            size, why = cache_bytes(limits, used=used, weights=rates.weights, need=need, token=rates.store)
        return Fit(
            limits=limits,
            rates=rates,
            choice=choice,
            most_threads=threads,
            cache_bytes=min(size, cache.total * cache.block_bytes),
            cache_why=why,
            need=need,
            used=used,
            context=min(engine.longest, size // rates.store),
            measured=fresh,
        )

    def _rates(self, engine: Engine, threads: int) -> tuple[Rates, bool]:
        place = self._place(engine, threads)
        if (kept := self._kept(place)) is not None:
            return kept, False
        rates = self._measured[place] = measure(engine.runner, context=engine.context, most_threads=threads)
        if busy():
            _log.warning("other work keeps this machine busy: what was measured is not kept for the next start")
        else:
            atomic_write(place, json.dumps(rates.told(), indent=1).encode())
        return rates, True

    def _kept(self, place: Path) -> Rates | None:
        if place in self._measured:
            return self._measured[place]
        try:
            return Rates.restored(json.loads(place.read_bytes()))
        except (OSError, ValueError, CorruptError):
            return None

    def _place(self, engine: Engine, threads: int) -> Path:
        """Rates depend on the processor, what is allowed of it, the libraries, and the form of the model: not on its
        weights, so that a new champion of the old form is not measured while the old one answers."""
        runner = engine.runner
        quota = self.limits().quota
        parts = (
            *(processor_name(), processor_flags(), str(threads), str(quota)),
            *(__version__, torch.__version__, binding.describe(), runner.kernels),
            *(repr(runner.model.spec), str(weights_of(runner)), str(runner.token_bytes)),
        )
        return self._folder / f"serving-{blake3_hex(*parts)[:16]}.json"


def in_words(fit: Fit) -> str:
    """In one line."""
    choice = fit.choice
    return (
        f"fitted to {fit.limits.processors} of {fit.limits.affinity} processors and {fit.limits.memory // _MB} MiB"
        f"{'' if fit.measured else ', by rates that were measured before'}: threads for tokens: {choice.threads}, "
        f"for prompts: {choice.prompt_threads}; {choice.sequences} sequences, "
        f"{choice.chunk} tokens of a prompt in a step, {fit.cache_bytes // _MB} MiB of keys and values"
    )


def _change(fit: Fit, engine: Engine) -> Change:
    choice = fit.choice
    return Change(
        threads=choice.threads,
        prompt_threads=choice.prompt_threads,
        sequences=choice.sequences,
        rows=choice.rows,
        chunk=choice.chunk,
        wide_chunk=choice.wide_chunk,
        blocks=max(1, fit.cache_bytes // engine.cache().block_bytes),
    )


def _scaled(rates: Rates, threads: int) -> Rates:
    """Of the nearest number of threads that was measured, as if work were shared out evenly: a guess until the next
    start."""
    nearest = min(rates.threads(), key=lambda t: abs(t - threads))
    most = max(rates.threads())
    factor = rates.step(nearest, 1) / rates.step(most, 1) * nearest / threads
    return Rates(
        weights=rates.weights,
        store=rates.store,
        memory=((threads, rates.bandwidth(nearest)),),
        steps=tuple((threads, rows, seconds * factor) for t, rows, seconds in rates.steps if t == most),
        prompts=tuple((threads, n, seconds * factor) for t, n, seconds in rates.prompts if t == most),
        kernels=rates.kernels,
    )


def _strict() -> bool:
    """Whether the system hands out addresses only with memory behind them."""
    try:
        never = _STRICT.read_text(encoding="ascii").strip() == "2"
    except OSError:
        never = False
    return never or resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
