"""Training the proxies without and with children, and scoring them on held-out text of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.augment.apply import family, last_id
from lamina.data.augment.perturb import CONDITIONS, perturb
from lamina.data.augment.plan import Operation, budget, keep_share
from lamina.data.augment.proxies import ByteModel, Classifier, features, steps_for
from lamina.data.augment.samples import sample
from lamina.data.augment.similar import HeldOut
from lamina.data.augment.tags import primary

Paraphrase = Callable[[Sequence[str]], Sequence[str]]
#: Characters that a proxy needs, and no more; of a larger corpus the documents with the smallest ids.
TRAIN_CHARACTERS, HELD_OUT_CHARACTERS = 2_000_000, 200_000
FIT = 0.1  # share of the training documents on which a language model is fitted, and not trained
_LONGEST = 4_000  # characters of one held-out document
_TOUCHED = 0.5  # share of the texts that a kind of damage must change to be looked at
_CHUNK = 512  # documents augmented at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The documents of one split: ``rows`` with id, text, source and language; ``labels`` where these were wanted.
    ``keys``: what could be one, for the hint of an error."""

    rows: Sequence[Mapping[str, Any]]
    texts: Sequence[str]
    labels: Sequence[str]
    groups: Sequence[Hashable]
    keys: tuple[str, ...] = ()

    def without(self, share: float) -> tuple[Side, list[str]]:
        """The side without the last ``share`` of its documents (at least one), and their texts."""
        cut = min(len(self.texts) - 1, int(len(self.texts) * (1 - share)))
        kept = replace(self, rows=self.rows[:cut], texts=self.texts[:cut], labels=self.labels[:cut])
        return replace(kept, groups=self.groups[:cut]), list(self.texts[cut:])

    @property
    def language(self) -> str | None:
        """The commonest."""
        known = [row["language"] for row in self.rows if row.get("language")]
        return max(sorted(set(known)), key=known.count) if known else None


def side_of(files: Sequence[Path], label: str | None, *, train: bool) -> Side:
    """Documents of Parquet files, as many as a proxy needs; with a ``label`` (a column, or a key of ``meta``) those
    that have it."""
    keys: set[str] = set()

    def fits(row: Mapping[str, Any]) -> bool:
        if label is None or value_of(row, label) is not None:
            return True
        if len(keys) < 50:
            keys.update(_meta(row))
        return False

    rows = sample(
        files,
        characters=TRAIN_CHARACTERS if train else HELD_OUT_CHARACTERS,
        longest=None if train else _LONGEST,
        more=() if label is None else (label,),
        fits=fits,
    )
    texts = [row["text"] if train else row["text"][:_LONGEST] for row in rows]
    labels = [str(value_of(row, label)) for row in rows] if label is not None else []
    groups = [row.get("group_id") or row["id"] for row in rows]
    return Side(rows=rows, texts=texts, labels=labels, groups=groups, keys=tuple(sorted(keys)))


def value_of(row: Mapping[str, Any], label: str) -> Any:
    """The value of a column, or of a key of the JSON in ``meta``; None where there is none."""
    value = row.get(label)
    return _meta(row).get(label) if value is None else value


def _meta(row: Mapping[str, Any]) -> dict[str, Any]:
    found = orjson.loads(row["meta"]) if row.get("meta") else {}
    return {k: v for k, v in found.items() if not isinstance(v, dict | list)} if isinstance(found, dict) else {}


@dataclass(slots=True)
class Scores:
    """Scores of N held-out texts under one kind of damage, (S, N): S seeds. ``better``: how much better it is with."""

    sign: float
    _without: list[NDArray[np.float64]] = field(default_factory=list)
    _with: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, without: NDArray[np.float64], with_: NDArray[np.float64]) -> None:
        """One seed more."""
        self._without.append(without)
        self._with.append(with_)

    @property
    def without(self) -> NDArray[np.float64]:
        """By the proxy without children."""
        return np.stack(self._without)

    @property
    def with_(self) -> NDArray[np.float64]:
        """By the proxy with them."""
        return np.stack(self._with)

    @property
    def better(self) -> NDArray[np.float64]:
        """Above 0 where it is better with children."""
        return self.sign * (self.with_ - self.without)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One trial: children of a seed on average, and scores by kind of text."""

    children: float
    by: Mapping[str, Scores]


def conditions(
    held_out: Side, seeds: int, paraphrase: Paraphrase | None
) -> tuple[dict[str, list[list[str]]], tuple[str, ...]]:
    """The held-out texts by kind of damage, once for each seed; and notes on kinds that say nothing of these texts."""
    found: dict[str, list[list[str]]] = {}
    notes: list[str] = []
    for name in CONDITIONS:
        if name == "paraphrase" and paraphrase is not None:
            made = [list(paraphrase(held_out.texts))] * seeds
        else:
            # Far from the seeds of the children, which are drawn from small numbers.
            made = [perturb(held_out.texts, name, seed=1_000_003 + s, language=held_out.language) for s in range(seeds)]
        touched = sum(a != b for a, b in zip(made[0], held_out.texts, strict=True))
        if name != "clean" and touched < _TOUCHED * len(held_out.texts):
            tag = primary(held_out.language) or "unknown language"
            notes.append(f"not looked at: {name}, which changes only {touched} of these texts ({tag})")
            continue
        found[name] = made
    return found, tuple(notes)


def run_trials(
    train: Side,
    held_out: Side,
    groups: Sequence[tuple[str, Sequence[Operation]]],
    texts: Mapping[str, Sequence[Sequence[str]]],
    *,
    label: str | None,
    max_share: float,
    fit: Sequence[str] = (),
    tick: Callable[[], None] | None = None,
) -> dict[str, Tried]:
    """Each group of operations by its name: the proxy with its children against the proxy without, by ``texts``.

    ``fit``: texts on which a language model is fitted. ``tick`` is called after each training.
    """
    guard = HeldOut.of(held_out.texts)
    scores = {name: {c: Scores(-1.0 if label is None else 1.0) for c in texts} for name, _ in groups}
    counts: dict[str, list[int]] = {name: [] for name, _ in groups}
    plain = _plain(train, fit, texts) if label is None else {}
    for seed in range(len(next(iter(texts.values())))):
        for name, operations in groups:
            children = children_of(train, operations, seed=seed, max_share=max_share, held_out=guard)
            counts[name].append(len(children))
            if tick is not None:
                tick()
            if label is None:
                model = ByteModel.of([*train.texts, *(text for text, _ in children)], fit)
                for condition, damaged in texts.items():
                    scores[name][condition].add(plain[condition][seed], model.bits_per_byte(damaged[seed]))
                continue
            score = _classifier(train, children, held_out, seed)
            for condition, damaged in texts.items():
                scores[name][condition].add(*score(damaged[seed]))
    return {name: Tried(children=sum(counts[name]) / len(counts[name]), by=scores[name]) for name, _ in groups}


def children_of(
    train: Side, operations: Sequence[Operation], *, seed: int, max_share: float, held_out: HeldOut
) -> list[tuple[str, int]]:
    """Children of the training documents within the budget, as the corpus would have them: (text, parent's number)."""
    characters = sum(len(text) for text in train.texts)

    def reach(operation: Operation) -> int:
        return sum(len(row["text"]) for row in train.rows if operation.fits(row["source"], row["language"]))

    limit = last_id(keep_share(characters, operations, max_share, reach=reach))
    made: list[tuple[str, str, int]] = []
    for begin in range(0, len(train.rows), _CHUNK):
        rows = train.rows[begin : begin + _CHUNK]
        names = ("id", "text", "source", "language")
        batch = pa.RecordBatch.from_pydict({n: pa.array([row.get(n) for row in rows], pa.string()) for n in names})
        found = family(batch, operations, seed=seed, limit=limit, held_out=held_out, tallies={})
        made += [(child.id, child.text, begin + child.row) for child in found]
    room = budget(characters, max_share)
    kept: list[tuple[str, int]] = []
    for _, text, parent in sorted(made):
        room -= len(text)
        if room < 0:
            break
        kept.append((text, parent))
    return kept


def _plain(
    train: Side, fit: Sequence[str], texts: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, list[NDArray[np.float64]]]:
    """Bits per byte by the language model without children, which is the same for every seed and every trial."""
    model = ByteModel.of(train.texts, fit)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for condition, damaged in texts.items():
        same = all(some is damaged[0] or some == damaged[0] for some in damaged)
        found[condition] = (
            [model.bits_per_byte(damaged[0])] * len(damaged) if same else [model.bits_per_byte(d) for d in damaged]
        )
    return found


_Score = Callable[[Sequence[str]], tuple[NDArray[np.float64], NDArray[np.float64]]]


def _classifier(train: Side, children: Sequence[tuple[str, int]], held_out: Side, seed: int) -> _Score:
    numbers = {name: number for number, name in enumerate(sorted(set(train.labels)))}
    targets = np.array([numbers.get(name, -1) for name in held_out.labels])
    steps = steps_for(len(train.texts) + len(children))
    own = [numbers[name] for name in train.labels]
    pair = []
    for texts, labels in (
        (train.texts, own),
        ([*train.texts, *(text for text, _ in children)], [*own, *(own[parent] for _, parent in children)]),
    ):
        known = np.array(labels, np.int64)
        pair.append(Classifier.train(features(texts), known, classes=len(numbers), steps=steps, seed=seed))

    def score(texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        data = features(texts)
        without, with_ = (np.asarray(model.predict(data) == targets, np.float64) for model in pair)
        return without, with_

    return score
