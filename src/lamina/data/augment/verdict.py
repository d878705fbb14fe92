"""Whether augmentation helps on one's own documents: a small model with and without it, on clean and on damaged text.

    verdict = judge(documents, operations, label="topic")
    print(verdict)

With labels the proxy is a classifier and what counts is accuracy; without, a byte model and bits per byte. Both sides
train equally long: without children, the documents come round more often. Differences
come with an interval from a bootstrap over held-out documents, paired, so that "it helped" is more than luck.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.augment.perturb import CONDITIONS, perturb
from lamina.data.augment.plan import MAX_SHARE, Operation, budget
from lamina.data.augment.proxies import ByteModel, Classifier, features, steps_for
from lamina.kit.errors import InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.registry import AUGMENTERS
from lamina.kit.statistics import Interval, paired_bootstrap

Paraphrase = Callable[[Sequence[str]], Sequence[str]]
_TRAIN_CHARACTERS = 2_000_000  # a proxy needs no more; of a larger corpus the documents with the smallest hashes
_HELD_OUT_CHARACTERS = 150_000
_DOCUMENT_CHARACTERS = 4_000  # of one held-out document


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of held-out text: means without and with, and how much better (above 0) it is with."""

    condition: str
    without: float
    with_: float
    better: Interval

    @property
    def words(self) -> str:
        """helped, hurt, or no clear difference."""
        if self.better.low > 0:
            return "helped"
        return "hurt" if self.better.high < 0 else "no clear difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was compared and what came out. ``str`` gives a table in words."""

    metric: str  # accuracy | bits per byte
    operations: tuple[str, ...]
    documents: int
    children: float  # of one seed, on average
    held_out: int
    seeds: int
    findings: tuple[Finding, ...]

    @property
    def helped(self) -> tuple[str, ...]:
        """The kinds of text on which it helped."""
        return tuple(f.condition for f in self.findings if f.words == "helped")

    @property
    def hurt(self) -> tuple[str, ...]:
        """The kinds of text on which it hurt."""
        return tuple(f.condition for f in self.findings if f.words == "hurt")

    @property
    def summary(self) -> str:
        """One sentence."""
        told = [f"it {verb} on {', '.join(on)}" for verb, on in (("helped", self.helped), ("hurt", self.hurt)) if on]
        return "; ".join(told) if told else "no clear difference on any kind of text"

    def __str__(self) -> str:
        head = (
            f"{', '.join(self.operations)}: {self.documents} documents, {self.children:.0f} children, "
            f"{self.seeds} seeds, {self.metric} on {self.held_out} held-out documents\n"
        )
        lines = ["| text | without | with | better by (95 % interval) | it |", "|---|---|---|---|---|"]
        for f in self.findings:
            interval = f"{f.better.mean:+.3f} ({f.better.low:+.3f} to {f.better.high:+.3f})"
            lines.append(f"| {f.condition} | {f.without:.3f} | {f.with_:.3f} | {interval} | {f.words} |")
        return "\n".join([head, *lines, "", self.summary[0].upper() + self.summary[1:] + "."])

    def json(self) -> dict[str, Any]:
        """As plain values, for a report."""
        findings = [
            {
                "condition": f.condition,
                "without": f.without,
                "with": f.with_,
                "better": [f.better.mean, f.better.low, f.better.high],
                "verdict": f.words,
            }
            for f in self.findings
        ]
        keys = ("metric", "operations", "documents", "children", "held_out", "seeds", "summary")
        return {**{key: getattr(self, key) for key in keys}, "findings": findings}


def judge_corpus(folder: Path, operations: Sequence[Operation], **parameters: Any) -> Verdict:
    """``judge`` on a corpus folder (``data/train-*.parquet`` and ``held_out-*.parquet``)."""
    files = sorted((folder / "data").glob("*.parquet"))
    columns = ["id", "text", "language", "group_id", "split", "parent_id", "meta"]
    if not files:
        raise InputError("this is no corpus: it has no data/*.parquet", where=str(folder))
    names = set(pq.read_schema(files[0]).names)
    wanted = [*columns, *([parameters["label"]] if parameters.get("label") in names - set(columns) else [])]
    return judge(pa.concat_tables(pq.read_table(file, columns=wanted) for file in files), operations, **parameters)


def judge(
    documents: pa.Table,
    operations: Sequence[Operation],
    *,
    label: str | None = None,
    seeds: int = 3,
    max_share: float = MAX_SHARE,
    paraphrase: Paraphrase | None = None,
) -> Verdict:
    """Train the proxy ``seeds`` times with and without ``operations`` on the rows whose split is "train", score it on
    those that are "held-out", as they are and damaged.

    ``label``: a column, or a key of the JSON in ``meta``; None: bits per byte. ``max_share`` bounds children as in the
    corpus. ``paraphrase`` says texts otherwise (a translator there and back, say); without it, by a list of English
    phrases. Raises ``InputError`` where a side has too few documents or labels.
    """
    train = _side(documents, "train", label, _TRAIN_CHARACTERS)
    held_out = _side(documents, "held-out", label, _HELD_OUT_CHARACTERS)
    if len(train.texts) < 2 or len(held_out.texts) < 5:
        found = f"{len(train.texts)} training and {len(held_out.texts)} held-out documents"
        raise InputError(
            f"{found}; a verdict needs at least 2 and 5", hint="raise data.held_out" if label is None else None
        )
    if label is not None and len(set(train.labels)) < 2:
        raise InputError(f"all training documents have the same '{label}'")
    texts = [text[:_DOCUMENT_CHARACTERS] for text in held_out.texts]
    scores: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {c: [] for c in CONDITIONS}
    counts: list[int] = []
    for seed in range(seeds):
        children, labels = _children(train, operations, seed, max_share)
        counts.append(len(children))
        score = _scorers(train, children, labels, held_out.labels if label else None, seed)
        for condition in CONDITIONS:
            if condition == "paraphrase" and paraphrase is not None:
                damaged = list(paraphrase(texts))
            else:
                damaged = perturb(texts, condition, seed=1_000_003 + seed, language=held_out.language)
            scores[condition].append(score(damaged))
    findings = tuple(_finding(name, found, held_out.groups, label is not None) for name, found in scores.items())
    return Verdict(
        metric="accuracy" if label else "bits per byte",
        operations=tuple(o.label for o in operations),
        documents=len(train.texts),
        children=sum(counts) / len(counts),
        held_out=len(texts),
        seeds=seeds,
        findings=findings,
    )


@dataclass(frozen=True, slots=True)
class _Side:
    batch: pa.RecordBatch
    texts: list[str]
    labels: list[str]
    groups: list[Hashable]

    @property
    def language(self) -> str | None:
        """The commonest."""
        known = [tag for tag in self.batch.column("language").to_pylist() if tag]
        return max(set(known), key=known.count) if known else None


def _side(documents: pa.Table, split: str, label: str | None, characters: int) -> _Side:
    """The documents of a split, no children, with labels where these are wanted; as many as are needed, by hash."""
    names = [
        n for n in ("id", "text", "language", "group_id", "split", "parent_id", "meta") if n in documents.schema.names
    ]
    rows = documents.select(
        [*names, *([label] if label in set(documents.schema.names) - set(names) else [])]
    ).to_pylist()
    rows = [r for r in rows if r.get("split") == split and not r.get("parent_id") and (r["text"] or "").strip()]
    found: list[tuple[dict[str, Any], str]] = []
    total = 0
    for row in sorted(rows, key=lambda r: blake3_hex("verdict", r["id"])):
        value = _label(row, label)
        if label is not None and value is None:
            continue
        found.append((row, value or ""))
        total += min(len(row["text"]), _DOCUMENT_CHARACTERS) if split != "train" else len(row["text"])
        if total >= characters:
            break
    batch = pa.RecordBatch.from_pydict(
        {
            "id": pa.array([row["id"] for row, _ in found], pa.string()),
            "text": pa.array([row["text"] for row, _ in found], pa.string()),
            "language": pa.array([row.get("language") for row, _ in found], pa.string()),
        }
    )
    groups: list[Hashable] = [row.get("group_id") or row["id"] for row, _ in found]
    return _Side(batch, [row["text"] for row, _ in found], [value for _, value in found], groups)


def _label(row: dict[str, Any], label: str | None) -> str | None:
    if label is None:
        return None
    value = row.get(label)
    if value is None and row.get("meta"):
        value = orjson.loads(row["meta"]).get(label)
    return None if value is None else str(value)


def _children(
    train: _Side, operations: Sequence[Operation], seed: int, max_share: float
) -> tuple[list[str], list[str]]:
    """Children of the training documents and their labels, within the budget."""
    made: list[tuple[str, str, str]] = []
    for operation in operations:
        parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in operation.parameters.items()}
        function = AUGMENTERS.get(operation.use).function
        for child in function(train.batch, copies=operation.copies, seed=seed, **parameters).to_pylist():
            parent = child["parent"]
            order = blake3_hex("verdict", str(seed), operation.label, str(parent), str(child["copy"]))
            if int(order[-13:], 16) / 16**13 < operation.share:
                made.append((order, child["text"], train.labels[parent]))
    room = budget(sum(len(text) for text in train.texts), max_share)
    texts, labels = [], []
    for _, text, label in sorted(made):
        room -= len(text)
        if room < 0:
            break
        texts.append(text)
        labels.append(label)
    return texts, labels


def _scorers(
    train: _Side, children: Sequence[str], labels: Sequence[str], wanted: Sequence[str] | None, seed: int
) -> Callable[[Sequence[str]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """A function that scores texts by the proxy without and with the children."""
    if wanted is None:
        parents, more = (sum(len(text) for text in side) for side in (train.texts, children))
        models = ByteModel(train.texts, times=1 + more / parents), ByteModel([*train.texts, *children])
        return lambda texts: (models[0].bits_per_byte(texts), models[1].bits_per_byte(texts))
    numbers = {name: number for number, name in enumerate(sorted({*train.labels}))}
    targets = np.array([numbers.get(name, -1) for name in wanted])
    steps = steps_for(len(train.texts) + len(children))
    pair = []
    for texts, names in ((train.texts, train.labels), ([*train.texts, *children], [*train.labels, *labels])):
        known = np.array([numbers[name] for name in names], np.int64)
        pair.append(Classifier.train(features(texts), known, classes=len(numbers), steps=steps, seed=seed))

    def score(texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        data = features(texts)
        without, with_ = (np.asarray(model.predict(data) == targets, np.float64) for model in pair)
        return without, with_

    return score


def _finding(
    condition: str,
    scores: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    groups: Sequence[Hashable],
    more_is_better: bool,
) -> Finding:
    without = np.mean([a for a, _ in scores], axis=0)
    with_ = np.mean([b for _, b in scores], axis=0)
    first, second = (with_, without) if more_is_better else (without, with_)
    interval = paired_bootstrap(first, second, list(groups), seed=0)
    return Finding(condition=condition, without=float(without.mean()), with_=float(with_.mean()), better=interval)
