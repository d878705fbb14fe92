"""From what was measured to what is chosen: threads, sequences, chunks and cache, each with its reason; arithmetic.

Tokens come first: a step that decodes for all sequences and reads a part of a prompt is to stay within the stated time
between tokens (chunked prefill: Agrawal et al. 2023, arXiv 2308.16369).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lamina.deployment.fit.measuring import CHUNKS, Rates
from lamina.kit.limits import Limits

MOST_SEQUENCES = 64
FULL = 0.92  # of a memory limit: caches shrink above it
_MB = 2**20
LEAST_TOKENS = 1024  # of keys and values that are kept however short memory is: a question with its sources
_SEQUENCES = (1, 2, 4, 8, 12, 16, 24, 32, 48, MOST_SEQUENCES)
_PARTS = (16, 32, 48, 64, 96, 128, 192, 256)  # chunks of a prompt
_PLAIN, _PLAIN_MOST = 8, 32  # sequences, at least and at most, where no SLO says how long a step may be
_PLAIN_STEP_S = 0.2  # of a step with a chunk, then
_PLAIN_TTFT_S = 1.0
_GAIN = 1.05  # of throughput that twice as many must bring
_TIE = 1.03  # fewer threads that are at most so much slower are taken: others can use the rest
_DECODING = 0.6  # of the time between tokens that decoding may take; the rest is for prompts


class Goal(Protocol):
    """Stated bounds in seconds, to the first token and between tokens; None: no bound."""

    @property
    def ttft(self) -> float | None:
        """To the first token."""
        ...

    @property
    def itl(self) -> float | None:
        """Between tokens."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """See ``Change`` for the names; ``why``: a reason for each in words."""

    threads: int
    prompt_threads: int
    sequences: int
    rows: int
    chunk: int
    wide_chunk: int
    why: Mapping[str, str] = field(default_factory=dict)


def choose(rates: Rates, *, goal: Goal, threads: int | None = None, sequences: int | None = None) -> Choice:
    """What ``rates`` allow within ``goal``; ``threads`` and ``sequences`` that are given stand."""
    why: dict[str, str] = {}
    measured = rates.threads()
    given = threads if threads in measured else None
    decoding = given or _fewest(measured, lambda t: rates.step(t, 1))
    reading = given or _fewest(measured, lambda t: rates.prompt(t, CHUNKS[1]))
    said = "given in the stack file" if threads else "the fewest within 3 % of the fastest, of " + _listed(measured)
    why["threads"] = f"{said} ({1e3 * rates.step(decoding, 1):.1f} ms a token)"
    why["prompt_threads"] = f"{said} ({CHUNKS[1] / rates.prompt(reading, CHUNKS[1]):.0f} tokens a second)"
    most = max(measured)  # at which several rows were timed
    scale = rates.step(decoding, 1) / rates.step(most, 1)
    rows = min((4, 8, 16), key=lambda r: rates.step(most, r) / r * (1.0 if r == 8 else _TIE))

    def step(count: int) -> float:
        whole, rest = divmod(count, rows)
        return scale * (whole * rates.step(most, rows) + (rates.step(most, rest) if rest else 0.0))

    count, why["sequences"] = (sequences, "given in the stack file") if sequences else _together(step, goal)
    chunk, why["chunk"] = _part(lambda n: rates.prompt(most, n), step(count), goal)
    longest = goal.ttft or _PLAIN_TTFT_S
    wider = [n for n in CHUNKS if n >= chunk] or [chunk]
    wide = [n for n in wider if rates.prompt(most, n) <= longest]
    wide_chunk = min(wide or wider, key=lambda n: rates.prompt(most, n) / n)
    why["wide_chunk"] = f"the fastest a token ({1e6 * rates.prompt(most, wide_chunk) / wide_chunk:.0f} µs)"
    return Choice(
        threads=decoding,
        prompt_threads=reading,
        sequences=count,
        rows=rows,
        chunk=chunk,
        wide_chunk=max(chunk, wide_chunk),
        why=why,
    )


def cache_bytes(limits: Limits, *, used: int, weights: int, need: int, token: int) -> tuple[int, str]:
    """(bytes of keys and values that fit, why): what the limit leaves beside what is ``used`` without a cache, a second
    version while it is loaded (its ``weights`` and their packed copy) and a reserve; never more than ``need``, nor less
    than ``LEAST_TOKENS`` of ``token`` bytes.

    Where nothing but the machine bounds the memory, a quarter of that: others live there, too.
    """
    reserve = max(128 * _MB, limits.memory // 10)
    room = limits.memory - used - 2 * weights - reserve
    share = room if limits.capped else room // 4
    if need <= share:
        return need, "all sequences at their longest fit"
    where = "the limit" if limits.capped else "a quarter of the machine's memory"
    if share < (least := min(need, LEAST_TOKENS * token)):
        return least, f"the least: {where} has no room for a second version beside this one"
    kept = f"{used // _MB} MiB in use, {2 * weights // _MB} for a second version, {reserve // _MB} in reserve"
    return share, f"what {where} of {limits.memory // _MB} MiB leaves ({kept})"


def surplus(limit: int, used: int, stalled: float | None, held: int) -> int:
    """Bytes that caches should give back now: down to 85 % of the ``limit`` where it is full; a tenth of
    what they hold where the kernel stalls somebody for memory above 80 %."""
    if used > FULL * limit:
        return used - int(0.85 * limit)
    return held // 10 if used > 0.8 * limit and stalled is not None and stalled > 0.2 else 0


def spare(limit: int, used: int) -> int:
    """Bytes by which caches may grow again: half of what is left below 80 %."""
    return max(0, int(0.8 * limit) - used) // 2


def _fewest(counts: list[int], seconds: Callable[[int], float]) -> int:
    best = min(seconds(t) for t in counts)
    return next(t for t in counts if seconds(t) <= _TIE * best)


def _together(step: Callable[[int], float], goal: Goal) -> tuple[int, str]:
    """How many sequences are answered at a time, and why."""
    if goal.itl is not None:
        held = [n for n in _SEQUENCES if step(n) <= _DECODING * goal.itl]
        if held:
            return held[-1], f"the most within {_DECODING:.0%} of itl ({1e3 * step(held[-1]):.1f} ms a step)"
        kept = "held without prompts beside it" if step(1) <= goal.itl else "not held even alone"
        return 1, f"itl = {1e3 * goal.itl:.0f} ms is {kept}: a token takes {1e3 * step(1):.1f} ms"
    count = _PLAIN
    while count < _PLAIN_MOST and 2 * count / step(2 * count) >= _GAIN * count / step(count):
        count *= 2
    return count, f"twice as many bring less than 5 % ({count / step(count):.0f} tokens a second together)"


def _part(prompt: Callable[[int], float], decoding: float, goal: Goal) -> tuple[int, str]:
    """How much of a prompt is read in a step that decodes, and why."""
    longest = goal.itl or _PLAIN_STEP_S
    held = [n for n in _PARTS if decoding + prompt(n) <= longest]
    chunk = held[-1] if held else _PARTS[0]
    took = f"a step with it takes {1e3 * (decoding + prompt(chunk)):.0f} ms"
    return chunk, f"{'the most within' if held else 'the least, beyond'} {1e3 * longest:.0f} ms ({took})"


def _listed(counts: list[int]) -> str:
    return ", ".join(map(str, counts))
