"""The promotion gate: paired bootstrap on held-out feedback, non-inferiority on what must stay right.

Three verdicts. *promote*: better on the held-out feedback, and not worse than the margins elsewhere. *reject*: worse on
the feedback, or beyond a margin elsewhere, with the stated confidence. Else *inconclusive*, and how many labels are
missing. The unit of resampling is the person (or conversation), never the message (Miller 2024, arXiv:2411.00640).
Where few people tell the models apart the bootstrap is too sure, so that a difference on the feedback must also be
beyond what comes of exchanging the two at random (``kit.statistics.exchange_chance``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lamina.contracts.lineage import Verdict
from lamina.kit.statistics import Interval, exchange_chance, labels_needed, paired_bootstrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One quantity of both models on the same items, lower is better; ``clusters`` names who each item came from."""

    champion: Sequence[float]
    challenger: Sequence[float]
    clusters: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the verdict rests on. ``feedback`` and ``learned`` in bits per byte of the answer that people want.

    ``learned``: held-out answers that an earlier promotion rested on; what was right must stay right.
    ``documents``: bits per byte of held-out documents.
    """

    feedback: Measured
    learned: Measured
    documents: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict, its reasons in words, and the numbers behind them."""

    verdict: Verdict
    reasons: tuple[str, ...]
    results: dict[str, Any]


def judge(
    evidence: Evidence, *, minimum: int, confidence: float, margin: float, learned_margin: float = 0.01
) -> Judgement:
    """Weigh ``evidence``. ``minimum`` people in the held-out feedback; margins in bits per byte, for the guards.

    What earlier feedback taught may lose ``learned_margin`` and a twentieth of its bits. That is far less than
    documents may lose: an answer of 45 bytes that becomes half as likely loses 0.022 bits per byte, and a model that
    hedges between right and random answers gains on the mixture while it does.
    """
    people = len(set(evidence.feedback.clusters))
    results: dict[str, Any] = {"people": people, "minimum": minimum, "confidence": confidence, "margin": margin}
    if len(evidence.learned.champion):
        learned_margin += _DRIFT * float(np.mean(evidence.learned.champion))
    results["learned_margin"] = learned_margin
    harm: list[str] = []
    doubt: list[str] = []
    guards = (("documents", evidence.documents, margin), ("learned", evidence.learned, learned_margin))
    for name, measured, allowed in guards:
        interval = _interval(measured, confidence)
        if interval is None:
            continue
        results[name] = _facts(measured, interval)
        _guard(_WORDS[name], interval, allowed, harm, doubt)
    good = _target(evidence.feedback, people, minimum, confidence, results, harm, doubt)
    if harm:
        return Judgement(verdict="reject", reasons=tuple(harm), results=results)
    if doubt:
        return Judgement(verdict="inconclusive", reasons=tuple(doubt), results=results)
    return Judgement(
        verdict="promote", reasons=(good, "nothing that it knew got worse beyond the margin"), results=results
    )


_DRIFT = 0.05  # share of its bits by which an answer may move between two trainings
_WORDS = {"documents": "the held-out documents", "learned": "what earlier feedback taught"}


def _target(
    measured: Measured,
    people: int,
    minimum: int,
    confidence: float,
    results: dict[str, Any],
    harm: list[str],
    doubt: list[str],
) -> str:
    interval = _interval(measured, confidence)
    chance = 1.0
    if interval is not None:
        chance = exchange_chance(measured.champion, measured.challenger, measured.clusters)
        results["feedback"] = _facts(measured, interval) | {"chance": chance}
    if people < minimum or interval is None:
        missing = minimum - people
        results["missing"] = missing
        doubt.append(
            f"held-out feedback comes from {people} {_people(people)}; a verdict needs {minimum}: {missing} more "
            f"(about one person in five is held out, so ask about {5 * missing} more)"
        )
        return ""
    words = f"held-out feedback: {_change(interval)}"
    rare = chance <= 1 - confidence + 1e-9
    if interval.low > 0 and rare:
        return words
    if interval.high < 0 and rare:
        harm.append(words + ": worse")
        return ""
    if interval.low > 0 or interval.high < 0:
        words += f": too few people tell the two apart (of equal models {chance:.0%} would differ so much)"
    needed = _more_people(measured, people, confidence)
    results["missing"] = needed
    more = f"about {needed} more held-out people would decide it" if needed else "more labels would hardly decide it"
    doubt.append(f"{words}: could be chance; {more}")
    return ""


def _more_people(measured: Measured, people: int, confidence: float) -> int | None:
    """How many more would decide it if the difference is real; they must also be enough for the test by exchange."""
    difference = np.asarray(measured.champion) - np.asarray(measured.challenger)
    needed = labels_needed(difference, measured.clusters, confidence=confidence)
    apart = len({who for who, gap in zip(measured.clusters, difference, strict=True) if gap})
    if needed is None or not apart:
        return None
    wanted = math.ceil(math.log2(2 / (1 - confidence)) * people / apart)  # that many coins rarely fall alike
    return max(needed, wanted - people, 1)


def _guard(words: str, interval: Interval, margin: float, harm: list[str], doubt: list[str]) -> None:
    """``interval`` is of the improvement; a loss beyond ``margin`` is harm when sure, doubt when possible."""
    if interval.high < -margin:
        harm.append(f"{words}: {_change(interval)}: beyond the margin of {margin:.3g}")
    elif interval.low < -margin:
        doubt.append(f"{words}: {_change(interval)}: a loss beyond the margin of {margin:.3g} cannot be ruled out")


def _interval(measured: Measured, confidence: float) -> Interval | None:
    if len(measured.champion) == 0:
        return None
    return paired_bootstrap(measured.champion, measured.challenger, measured.clusters, confidence=confidence)


def _facts(measured: Measured, interval: Interval) -> dict[str, Any]:
    return {
        "champion": float(np.mean(measured.champion)),
        "challenger": float(np.mean(measured.challenger)),
        "items": len(measured.champion),
        "improvement": asdict(interval),
    }


def _change(interval: Interval) -> str:
    return f"{interval.mean:+.3f} bits per byte gained [{interval.low:+.3f}, {interval.high:+.3f}]"


def _people(count: int) -> str:
    return "person" if count == 1 else "people"
