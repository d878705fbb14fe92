"""Outcomes in figures: percentiles, rates, goodput, errors by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from lamina.deployment.load.objective import Objective
from lamina.deployment.load.outcome import Outcome

PERCENTILES = (50, 90, 95, 99)


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """``p50`` … ``p99``, ``max`` and ``mean`` by nearest rank: every one is a value that occurred. {} of nothing."""
    found = np.sort(np.fromiter(values, np.float64))
    if not found.size:
        return {}
    ranks = {f"p{p}": float(found[max(0, -(-p * found.size // 100) - 1)]) for p in PERCENTILES}
    return {**ranks, "max": float(found[-1]), "mean": float(found.mean())}


def summarize(outcomes: Sequence[Outcome], *, seconds: float, objective: Objective) -> dict[str, Any]:
    """The figures of a run whose requests came within ``seconds``. Times in seconds, rates a second.

    Rates count what ended, and tokens that came, within that time: what is still answered afterwards is left out, as
    is the empty server at the beginning not made up for. A request that was given up counts in the percentiles with
    the time that it was given; one that was refused, or failed in another way, is counted by kind alone.
    """
    whole = [o for o in outcomes if o.error is None]
    late = [o for o in outcomes if o.error == "timeout"]
    good = [o for o in whole if _good(o, objective)]
    within = [o for o in whole if o.ended <= seconds]
    pieces = sum(sum(at <= seconds for at in o.tokens) * o.generated / max(1, len(o.tokens)) for o in whole)
    waits = [o.retry_after for o in outcomes if o.retry_after is not None]
    return {
        "seconds": seconds,
        "requests": len(outcomes),
        "offered_per_s": len(outcomes) / seconds,
        "completed": len(whole),
        "completed_per_s": len(within) / seconds,
        "good": len(good),
        "goodput_per_s": sum(o.ended <= seconds for o in good) / seconds,
        "objective": objective.told(),
        "output_tokens_per_s": pieces / seconds,
        "errors": dict(Counter(o.error for o in outcomes if o.error is not None).most_common()),
        "ttft": percentiles([o.e2e if o.ttft is None else o.ttft for o in (*whole, *late)]),
        "itl": percentiles(chain.from_iterable(o.gaps for o in whole)),
        "e2e": percentiles(o.e2e for o in (*whole, *late)),
        "late_to_send": percentiles(o.sent - o.intended for o in outcomes if o.sent),
        "retry_after": percentiles(waits),
        "prompt_tokens": percentiles(float(o.prompt_tokens) for o in whole if o.prompt_tokens is not None),
        "completion_tokens": percentiles(float(o.generated) for o in whole),
    }


def _good(outcome: Outcome, objective: Objective) -> bool:
    first = outcome.e2e if outcome.ttft is None else outcome.ttft
    return objective.met(ttft=first, itl=outcome.per_token, e2e=outcome.e2e)
