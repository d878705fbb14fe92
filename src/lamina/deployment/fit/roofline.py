"""The roofline of a fitted engine, for the reader: what bounds it, what it reaches, and what more would buy."""

from __future__ import annotations

from typing import Any

from lamina.deployment.engine.native import binding
from lamina.deployment.fit.choice import Goal
from lamina.deployment.fit.fitter import Fit
from lamina.deployment.fit.measuring import CONTEXT, Rates
from lamina.kit.limits import processor_name

_GB, _MB = 1e9, 2**20
_NAMES = {
    "threads": "threads for tokens",
    "prompt_threads": "threads for prompts",
    "sequences": "sequences at a time",
    "rows": "sequences in one product",
    "chunk": "tokens of a prompt in a step that decodes",
    "wide_chunk": "tokens of a prompt in other steps",
}


def explain(fit: Fit, goal: Goal) -> dict[str, Any]:
    """Figures, as JSON has them; times in seconds, sizes in bytes."""
    rates, choice = fit.rates, fit.choice
    threads, most = choice.threads, max(rates.threads())
    per_token = rates.weights + rates.store * CONTEXT
    reached = 1 / rates.step(threads, 1)
    bandwidth = max(rates.bandwidth(threads), reached * per_token)  # what a token got, memory has given
    bound = bandwidth / per_token
    return {
        "machine": {
            "processor": processor_name(),
            "native_kernels": binding.describe(),
            "processors": fit.limits.processors,
            "affinity": fit.limits.affinity,
            "quota": fit.limits.quota,
            "memory": fit.limits.memory,
            "capped": fit.limits.capped,
        },
        "rates": {"kernels": rates.kernels, "measured_now": fit.measured, "context": CONTEXT},
        "roofline": {
            "threads": threads,
            "bytes_per_token": per_token,
            "bandwidth": bandwidth,
            "bound_tokens_per_s": bound,
            "tokens_per_s": reached,
            "share": reached / bound,
        },
        "steps": [{"threads": t, "rows": r, "seconds": s, "tokens_per_s": r / s} for t, r, s in rates.steps],
        "prompts": [{"threads": t, "tokens": n, "seconds": s, "tokens_per_s": n / s} for t, n, s in rates.prompts],
        "chosen": {name: {"value": getattr(choice, name), "why": choice.why.get(name)} for name in _NAMES},
        "cache": {
            "bytes": fit.cache_bytes,
            "tokens": fit.cache_bytes // rates.store,
            "context": fit.context,
            "why": fit.cache_why,
        },
        "goal": {
            "ttft": goal.ttft,
            "itl": goal.itl,
            "prompt_within_ttft": None if goal.ttft is None else _within(rates, most, goal.ttft),
        },
        "more": {"cores": _more_cores(rates, most, reached / bound), "memory": _more_memory(fit)},
    }


def in_lines(told: dict[str, Any]) -> str:
    """What ``explain`` found, as text."""
    machine, roof, cache, goal = told["machine"], told["roofline"], told["cache"], told["goal"]
    quota = "" if machine["quota"] is None else f", a quota of {machine['quota']:g}"
    lines = [
        f"machine   {machine['processor']}; native kernels: {machine['native_kernels']}",
        f"limits    threads: {machine['processors']} (processors: {machine['affinity']}{quota}), "
        f"{machine['memory'] // _MB:,} MiB of memory{' by its control group' if machine['capped'] else ''}",
        f"roofline  a token reads {roof['bytes_per_token'] / 1e6:.1f} MB (weights, and keys and values of "
        f"{told['rates']['context']} tokens)",
        f"          memory gives {roof['bandwidth'] / _GB:.1f} GB/s (threads: {roof['threads']}): at most "
        f"{roof['bound_tokens_per_s']:.0f} tokens/s",
        f"          reached: {roof['tokens_per_s']:.0f} tokens/s, {roof['share']:.0%} of it, by the "
        f"{told['rates']['kernels']} kernels, measured {'now' if told['rates']['measured_now'] else 'before'}",
        *(
            f"decoding  threads {one['threads']}, sequences {one['rows']:>2}: {1e3 * one['seconds']:8.1f} ms a step, "
            f"{one['tokens_per_s']:7.0f} tokens/s"
            for one in told["steps"]
        ),
        *(
            f"prompts   threads {one['threads']}, tokens   {one['tokens']:>3}: {1e3 * one['seconds']:8.1f} ms, "
            f"{one['tokens_per_s']:13.0f} tokens/s"
            for one in told["prompts"]
        ),
        *(
            f"chosen    {_NAMES[name]}: {one['value']}{' - ' + one['why'] if one['why'] else ''}"
            for name, one in told["chosen"].items()
        ),
        f"cache     {cache['bytes'] // _MB:,} MiB, {cache['tokens']:,} tokens, contexts of up to {cache['context']:,}"
        f" - {cache['why']}",
    ]
    if goal["ttft"] is not None:
        within = goal["prompt_within_ttft"]
        lines.append(f"goal      ttft = {1e3 * goal['ttft']:.0f} ms: prompts of up to {within:,} tokens, read alone")
    return "\n".join(
        [*lines, f"more      cores: {told['more']['cores']}", f"          memory: {told['more']['memory']}"]
    )


def _within(rates: Rates, threads: int, seconds: float) -> int:
    """Tokens of a prompt that are read in so long, at the best rate."""
    best = max(n / s for t, n, s in rates.prompts if t == threads)
    return max(0, int(best * (seconds - rates.step(threads, 1))))


def _more_cores(rates: Rates, most: int, share: float) -> str:
    """By the law of Amdahl 1967 (doi 10.1145/1465482.1465560), from one thread to all."""
    if most == 1 or 1 not in rates.threads():
        return (
            f"one was measured; a token could be up to {1 / share:.1f} times as fast until memory bounds it"
            if share < 1
            else "one was measured, and memory bounds it"
        )
    gained = rates.step(1, 1) / rates.step(most, 1)
    if gained <= 1.0:
        return f"{most} threads are no faster than one here ({gained:.2f} times): more bring nothing to a token"
    reading = rates.bandwidth(most) / rates.bandwidth(1)
    parallel = min(1.0, max(0.0, (1 - 1 / gained) / (1 - 1 / most)))
    twice = (1 - parallel + parallel / most) / (1 - parallel + parallel / (2 * most))
    bound = " (memory gives no more to further threads: expect less)" if reading < 1.2 else ""
    return (
        f"from 1 to {most} threads a token became {gained:.2f} times as fast, memory {reading:.2f} times; "
        f"{2 * most} would make it about {twice:.2f} times as fast as now{bound}"
    )


def _more_memory(fit: Fit) -> str:
    if fit.cache_bytes >= fit.need:
        return "nothing: all sequences fit at their longest"
    tokens = 2**30 // fit.rates.store
    return (
        f"a GiB more holds {tokens:,} further tokens; all {fit.choice.sequences} sequences at their longest need "
        f"{fit.need // _MB:,} MiB"
    )
