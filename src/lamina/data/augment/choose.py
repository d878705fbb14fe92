"""Which translator back translation takes: the stack's own model only where it is good enough, else the next best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.data.augment.back_translation import passing
from lamina.data.augment.chrf import chrf
from lamina.data.augment.translators import Sampler
from lamina.kit.errors import FetchError, InputError

LEAST_CHRF = 40.0
LEAST_PASSING = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A translator by name; ``own``: it is the stack's own model, which must show its chrF."""

    name: str
    translator: Sampler
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The translator taken (None: none is good enough) and, in words, why each candidate was or was not."""

    name: str | None
    translator: Sampler | None
    reasons: tuple[str, ...]


def choose_translator(
    candidates: Sequence[Candidate],
    *,
    source: str,
    pivot: str,
    samples: Sequence[str],
    parallel: Sequence[tuple[str, str]] = (),
) -> Choice:
    """The first candidate that is good enough, in the order given (the own model is asked first).

    An own model needs a chrF2 of at least 40 on the held-out pairs ``parallel`` (texts in ``source`` and in ``pivot``),
    counted both ways, the worse counts; every candidate needs at least 30 % of the sentences of ``samples`` (texts in
    ``source``) to come back past the gates.
    """
    reasons: list[str] = []
    for candidate in sorted(candidates, key=lambda c: not c.own):
        fine, reason = _judge(candidate, source, pivot, samples, parallel)
        reasons.append(f"{candidate.name}: {reason}")
        if fine:
            return Choice(name=candidate.name, translator=candidate.translator, reasons=tuple(reasons))
    reasons.append("no translator is good enough: no back translation")
    return Choice(name=None, translator=None, reasons=tuple(reasons))


def _judge(
    candidate: Candidate, source: str, pivot: str, samples: Sequence[str], parallel: Sequence[tuple[str, str]]
) -> tuple[bool, str]:
    words: list[str] = []
    try:
        if candidate.own and not parallel:
            return False, "not taken: no held-out pairs to measure its chrF on"
        if parallel:
            here, there = [a for a, _ in parallel], [b for _, b in parallel]
            onward = chrf(candidate.translator.translate(here, source, pivot), there)
            backward = chrf(candidate.translator.translate(there, pivot, source), here)
            pairs = f"{onward:.1f} {source}-{pivot} and {backward:.1f} {pivot}-{source}"
            words.append(f"chrF {pairs} on {len(parallel)} held-out pairs")
            if candidate.own and min(onward, backward) < LEAST_CHRF:
                return False, f"not taken: {words[0]}, at least {LEAST_CHRF:.0f} is needed"
        share, failed = passing(samples, candidate.translator, language=source, pivot=pivot)
    except (InputError, FetchError) as error:
        return False, f"not taken: {error}"
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(failed.items(), key=lambda f: -f[1]))
    words.append(f"{share:.0%} of the sentences pass the gates" + (f" (failed: {told})" if told else ""))
    fine = share >= LEAST_PASSING
    verdict = "taken" if fine else "not taken"
    needed = "" if fine else f"; at least {LEAST_PASSING:.0%} is needed"
    return fine, f"{verdict}: {'; '.join(words)}{needed}"
