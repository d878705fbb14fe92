"""Which translator back translation takes: the stack's own model only where it is good enough, else the next best."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lamina.data.augment.back_translation import passing
from lamina.data.augment.chrf import chrf
from lamina.data.augment.parallel import read_parallel
from lamina.data.augment.plan import Operation
from lamina.data.augment.translators import OWN, TRANSLATOR, Sampler, names_in, open_translator
from lamina.kit.errors import FetchError, InputError

LEAST_CHRF = 40.0
LEAST_PASSING = 0.3
_SENTENCES = 100  # about as many are translated there and back to see how many pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A translator by name; ``own``: it is the stack's own model, which must show its chrF. ``steady``: the same
    without sampling, by which chrF is measured."""

    name: str
    translator: Sampler
    own: bool = False
    steady: Sampler | None = None


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


def settle(
    operations: Sequence[Operation],
    *,
    languages: Sequence[str],
    samples: Callable[[Operation, str], Sequence[str]],
    own: str = "",
) -> tuple[list[Operation], list[dict[str, Any]]]:
    """The operations with every back translation cut into one a language, by the translator that is good enough for it;
    and what was found: rows of ``operation``, ``language``, ``pivot``, ``translator`` (or None) and ``reasons``.

    ``languages``: those of the training documents; ``samples``: texts of an operation's documents in a language;
    ``own``: the address of the stack's own model, where no encoder-decoder of its own is at hand. A language whose
    translators differ by pivot takes that of the first pivot, for the pivots that it is good for.
    """
    settled: list[Operation] = []
    told: list[dict[str, Any]] = []
    for operation in operations:
        if operation.use != "back_translation":
            settled.append(operation)
            continue
        for language in languages:
            if language and (not operation.languages or language in operation.languages):
                found = [_row(operation, language, pivot, samples, own) for pivot in operation.parameters["pivots"]]
                told += [row for row in found if row]
                settled += _with(operation, language, [row for row in found if row and row["translator"]], own)
    return settled, told


def _row(
    operation: Operation,
    language: str,
    pivot: str,
    samples: Callable[[Operation, str], Sequence[str]],
    own: str,
) -> dict[str, Any] | None:
    texts = samples(operation, language)
    if not texts or pivot == language:
        return None
    candidates, failed = _candidates(operation, own)
    file = operation.parameters.get("parallel")
    parallel = read_parallel(Path(file), language, pivot) if file else []
    choice = choose_translator(candidates, source=language, pivot=pivot, samples=texts, parallel=parallel)
    row = {"operation": operation.label, "language": language, "pivot": pivot, "translator": choice.name}
    return row | {"reasons": [*failed, *choice.reasons]}


def _locations(operation: Operation, own: str) -> dict[str, str]:
    """Where each translator that a table names is opened."""
    names, placed = (names_in(values["translator"]) for values in (operation.told, operation.parameters))
    here = OWN if os.environ.get(TRANSLATOR) else f"{OWN}:{own}"
    return {name: here if name == OWN else place for name, place in zip(names, placed, strict=True)}


def _candidates(operation: Operation, own: str) -> tuple[list[Candidate], list[str]]:
    """The translators that a table names and that can be opened, and in words what cannot."""
    found: list[Candidate] = []
    failed: list[str] = []
    options = {key: operation.parameters[key] for key in ("temperature", "model", "remote")}
    for name, place in _locations(operation, own).items():
        if place == f"{OWN}:":
            failed.append(f"{OWN}: not taken: nothing says where it is served")
            continue
        steady = open_translator(place, **{**options, "temperature": 0.0})
        found.append(Candidate(name=name, translator=open_translator(place, **options), own=name == OWN, steady=steady))
    return found, failed


def _with(operation: Operation, language: str, rows: Sequence[Mapping[str, Any]], own: str) -> list[Operation]:
    """The operation for one language, by the translator of the first pivot; none where no translator is good enough."""
    if not rows:
        return []
    name = rows[0]["translator"]
    pivots = [row["pivot"] for row in rows if row["translator"] == name]
    opened = _locations(operation, own)[name]
    return [
        replace(
            operation,
            languages=(language,),
            parameters={**operation.parameters, "translator": opened, "pivots": pivots},
            told={**operation.told, "translator": name, "pivots": pivots},
        )
    ]


def _judge(
    candidate: Candidate, source: str, pivot: str, samples: Sequence[str], parallel: Sequence[tuple[str, str]]
) -> tuple[bool, str]:
    words: list[str] = []
    try:
        if candidate.own and not parallel:
            return False, "not taken: no held-out pairs to measure its chrF on"
        if parallel:
            here, there = [a for a, _ in parallel], [b for _, b in parallel]
            steady = candidate.steady or candidate.translator
            onward = chrf(steady.translate(here, source, pivot), there)
            backward = chrf(steady.translate(there, pivot, source), here)
            pairs = f"{onward:.1f} {source}-{pivot} and {backward:.1f} {pivot}-{source}"
            words.append(f"chrF {pairs} on {len(parallel)} held-out pairs")
            if candidate.own and min(onward, backward) < LEAST_CHRF:
                return False, f"not taken: {words[0]}, at least {LEAST_CHRF:.0f} is needed"
        candidate.translator.reseed(0)  # the same choice, and the same report, every time
        share, failed = passing(samples, candidate.translator, language=source, pivot=pivot, most=_SENTENCES)
    except (InputError, FetchError) as error:
        return False, f"not taken: {error}"
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(failed.items(), key=lambda f: -f[1]))
    words.append(f"{share:.0%} of the sentences pass the gates" + (f" (failed: {told})" if told else ""))
    fine = share >= LEAST_PASSING
    verdict = "taken" if fine else "not taken"
    needed = "" if fine else f"; at least {LEAST_PASSING:.0%} is needed"
    return fine, f"{verdict}: {'; '.join(words)}{needed}"
