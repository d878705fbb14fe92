"""Back translation (Sennrich et al. 2016; Edunov et al. 2018): sentences into another language and back.

Sentence by sentence, so that nothing is cut off and a bad sentence does not spoil a document: one that fails a gate
stays as it was. What is not a sentence (code, headings, white space) is never touched.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from lamina.data.augment.children import CHILDREN, seeds_of, with_refused
from lamina.data.augment.gates import LANGUAGE, LEAST_RATIO, LENGTH, MOST_RATIO, gate, names_of, same_language
from lamina.data.augment.protect import read_terms
from lamina.data.augment.sentences import Sentence, exchange, sentences
from lamina.data.augment.tags import primary
from lamina.data.augment.translators import Sampler, open_translator, shown
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.registry import AUGMENTERS

_LISTED = 1000
_WORD = re.compile(r"\w+")
_CAPITAL = re.compile(r"(?<=[\w,;] )[^\W\d_]\w+")
#: Why a document gets no child.
NO_SENTENCE, NO_LANGUAGE = "no sentence to translate", "no language known"
NO_PAIR, NONE_PASSED = "not in a language of the translator", "no sentence passed the gates"


@AUGMENTERS("back_translation", version=1)
def back_translation(
    batch: pa.RecordBatch,
    *,
    copies: int = 1,
    seed: int = 0,
    translator: str | tuple[str, ...] = "apertium",
    pivots: tuple[str, ...] = ("es",),
    part: float = 1.0,
    temperature: float = 0.7,
    model: str = "",
    remote: bool = False,
    parallel: str | None = None,
    stacks: tuple[str, ...] = (),
    terms: tuple[str, ...] = (),
    glossary: str | None = None,
) -> pa.Table:
    """Children by translation into ``pivots`` in turn (copy 0 by the first, …) and back.

    ``translator``, ``model``, ``remote``, ``temperature``: see ``translators.open_translator``; of several translators
    ``choose.settle`` takes, before any work, the first that is good enough, the stack's own model ("own") only where it
    is good enough on the held-out pairs of the file ``parallel``. ``stacks``: files of other stacks whose translators
    "own" may be, too: each direction by the first that has it. ``part``: each sentence is taken with this
    probability, so that copies by a translator that always says the same differ. Documents without a language, or in
    one that the translator does not have, get no children; nor do those of which no sentence passes the gates.
    ``terms`` and the lines of the file ``glossary`` must come back as they went.
    """
    if not pivots:
        raise ConfigError("no pivot languages are named", hint='for example pivots = ["es"]')
    if not 0 < part <= 1:
        raise ConfigError(f"part is {part}; it is a share of the sentences, above 0 and at most 1")
    if not batch.num_rows:
        return CHILDREN.empty_table()
    if not isinstance(translator, str):
        if len(translator) != 1:
            raise ConfigError("of several translators one must be chosen first", hint="see choose.settle")
        translator = translator[0]
    service = open_translator(translator, temperature=temperature, model=model, remote=remote)
    return translate_back(
        batch,
        service,
        copies=copies,
        seed=seed,
        pivots=pivots,
        part=part,
        sampled=temperature > 0 and translator != "apertium",
        terms=read_terms(terms, glossary),
        told={"translator": shown(translator), **({"model": model} if model else {})},
    )


@dataclass(slots=True)
class _Task:
    """One child to be made."""

    row: int
    copy: int
    pivot: str
    seed: int
    text: str
    language: str
    chosen: list[Sentence]


def translate_back(
    batch: pa.RecordBatch,
    service: Sampler,
    *,
    copies: int,
    seed: int,
    pivots: Sequence[str],
    part: float = 1.0,
    sampled: bool = False,
    terms: Sequence[str] = (),
    told: Mapping[str, Any] | None = None,
) -> pa.Table:
    """``back_translation`` by a translator that is open already. Where it is ``sampled``, documents are translated one
    by one, so that a document's children do not depend on its neighbours; else all of a language pair together.
    """
    columns: dict[str, list[Any]] = {name: [] for name in CHILDREN.names}
    refused: Counter[str] = Counter()
    pieces: Counter[str] = Counter()
    groups: dict[tuple[str, ...], list[_Task]] = {}
    for task in _tasks(batch, copies, seed, pivots, part, refused):
        own = (str(task.row), str(task.copy)) if sampled else ()
        groups.setdefault((task.language, task.pivot, *own), []).append(task)
    made: list[tuple[_Task, str, dict[str, Any]]] = []
    for (language, pivot, *_), tasks in groups.items():
        if sampled:
            service.reseed(tasks[0].seed)
        made += _run(tasks, service, language, pivot, tuple(terms), refused, pieces)
    fine = _documents_gate(made)
    for (task, text, detail), reason in sorted(zip(made, fine, strict=True), key=lambda m: (m[0][0].row, m[0][0].copy)):
        if reason is not None:
            refused[reason] += 1
            continue
        columns["parent"].append(task.row)
        columns["copy"].append(task.copy)
        columns["text"].append(text)
        columns["detail"].append(orjson.dumps({**(told or {}), **detail}).decode())
    return with_refused(pa.table(columns, schema=CHILDREN), refused, pieces)


def _tasks(
    batch: pa.RecordBatch, copies: int, seed: int, pivots: Sequence[str], part: float, refused: Counter[str]
) -> list[_Task]:
    tasks: list[_Task] = []
    names = ("id", "text", "language")
    for row, (name, text, tag) in enumerate(zip(*(batch.column(n).to_pylist() for n in names), strict=True)):
        language = primary(tag)
        found = sentences(text) if text and language else []
        if not found:
            refused[NO_SENTENCE if language else NO_LANGUAGE] += copies
        for copy in range(copies if found else 0):
            pivot = pivots[copy % len(pivots)]
            own = int(seeds_of((name,), f"back_translation/{copy}", seed)[0])
            chosen = [s for number, s in enumerate(found) if part == 1 or _draw(own, number) < part]
            if chosen and pivot != language:
                tasks.append(_Task(row, copy, pivot, own, text, language, chosen))
            else:
                refused[NO_SENTENCE if pivot != language else NO_PAIR] += 1
    return tasks


def _draw(seed: int, number: int) -> float:
    return int(blake3_hex(str(seed), str(number))[:13], 16) / 16**13


def _run(
    tasks: Sequence[_Task],
    service: Sampler,
    language: str,
    pivot: str,
    terms: tuple[str, ...],
    refused: Counter[str],
    pieces: Counter[str],
) -> list[tuple[_Task, str, dict[str, Any]]]:
    """The tasks of one language pair: (task, child, detail) of each in which a sentence changed."""
    originals = list(dict.fromkeys(s.text for task in tasks for s in task.chosen))
    try:
        there = service.translate(originals, language, pivot)
        back = [_tidy(a, b) for a, b in zip(originals, service.translate(there, pivot, language), strict=True)]
    except InputError:  # a pair that it does not have
        refused[NO_PAIR] += len(tasks)
        return []
    reasons = _check(originals, back, language, terms)
    known = dict(zip(originals, zip(back, reasons, strict=True), strict=True))
    made: list[tuple[_Task, str, dict[str, Any]]] = []
    for task in tasks:
        failed: Counter[str] = Counter()
        edits: list[tuple[int, int, str]] = []
        for sentence in task.chosen:
            new, reason = known[sentence.text]
            if reason is None:
                edits.append((sentence.begin, sentence.end, new))
            else:
                failed[reason] += 1
        pieces.update(failed)
        if not edits:
            refused[NONE_PASSED] += 1
        else:
            detail: dict[str, Any] = {"pivot": pivot, "failed": dict(failed), "edits": edits[:_LISTED]}
            if len(edits) > _LISTED:
                detail["more"] = len(edits) - _LISTED
            made.append((task, exchange(task.text, edits), detail))
    return made


def _check(originals: Sequence[str], texts: Sequence[str], language: str, terms: tuple[str, ...]) -> list[str | None]:
    reasons = gate(originals, texts, names=names_of(originals, language))
    if not terms:
        return reasons
    wanted = re.compile(
        r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(terms, key=len, reverse=True))) + r")(?!\w)", re.I
    )
    return [
        reason or ("terms" if Counter(wanted.findall(a)) != Counter(wanted.findall(b)) else None)
        for reason, a, b in zip(reasons, originals, texts, strict=True)
    ]


def _documents_gate(made: Sequence[tuple[_Task, str, dict[str, Any]]]) -> list[str | None]:
    """Why each child as a whole has no longer its parent's language or about its length, or None."""
    fine = [None if LEAST_RATIO <= len(text) / len(task.text) <= MOST_RATIO else LENGTH for task, text, _ in made]
    for language in {task.language for task, _, _ in made}:
        chosen = [i for i, (task, _, _) in enumerate(made) if task.language == language]
        # Where the parent's own language is misjudged, the child's is no sign of anything.
        before = same_language([made[i][0].text for i in chosen], language)
        after = same_language([made[i][1] for i in chosen], language)
        for i, was, still in zip(chosen, before, after, strict=True):
            fine[i] = fine[i] or (LANGUAGE if was and not still else None)
    return fine


def _tidy(original: str, text: str) -> str:
    """Spaces as in the original: none doubled, none at the ends, none before a mark. And no capital within a sentence
    for a word that has none in the original: rules that take an unknown first word for a mark begin the sentence anew.
    """
    known = set(_WORD.findall(original))
    text = _CAPITAL.sub(lambda m: m[0].lower() if m[0] not in known and m[0].lower() in known else m[0], text.strip())
    if "  " not in original:
        text = re.sub(r" {2,}", " ", text)
    if not re.search(r" [,.;:!?]", original):
        text = re.sub(r" +([,.;:!?])(?=\s|$)", r"\1", text)
    return text


def passing(
    texts: Sequence[str], service: Sampler, *, language: str, pivot: str, most: int | None = None
) -> tuple[float, dict[str, int]]:
    """The share of the sentences of ``texts`` whose back translation passes all gates, and how many failed by which.

    Sentences long enough to show their language must also keep it. ``most``: of more sentences so many, spread evenly.
    """
    originals = [s.text for text in texts for s in sentences(text)]
    if most is not None:
        originals = originals[:: max(1, len(originals) // most)][:most]
    if not originals:
        return 0.0, {}
    there = service.translate(originals, language, pivot)
    back = [_tidy(a, b) for a, b in zip(originals, service.translate(there, pivot, language), strict=True)]
    reasons: list[str | None] = list(gate(originals, back, names=names_of(originals, language)))
    for number, still in enumerate(same_language(back, language)):
        if reasons[number] is None and not still and len(back[number]) >= 60:
            reasons[number] = LANGUAGE
    failed = Counter(reason for reason in reasons if reason is not None)
    return reasons.count(None) / len(reasons), dict(failed)
