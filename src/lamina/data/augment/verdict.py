"""Whether augmentation helps on one's own documents: a small model with and without it, on clean and on damaged text.

    verdict = judge_corpus(corpus, operations, label="topic")
    print(verdict)

With labels the proxy is a classifier and what counts is accuracy; both sides train equally many steps: without
children, the documents come round more often. Without labels it is a byte model and bits per byte; both sides are
fitted on documents apart, lest one of them win for being less sure of itself. Each operation is tried alone, and all of
them together. Differences come with an interval over held-out documents (a paired bootstrap) and over seeds, so that
"it helped" is more than luck; a winner is named only where it is better than every other beyond that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.data.augment.plan import MAX_SHARE, Operation
from lamina.data.augment.trials import FIT, Paraphrase, Scores, Side, conditions, run_trials, side_of
from lamina.kit.errors import InputError
from lamina.kit.statistics import Interval, paired_bootstrap, student_quantile

TOGETHER = "all together"
_CONFIDENCE = 0.95
_LEAST_TRAIN, _LEAST_HELD_OUT = 2, 5  # documents; below five an interval says nothing


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
class Trial:
    """What came of one operation, or of all together; ``children`` of one seed, on average."""

    label: str
    children: float
    findings: tuple[Finding, ...]

    def on(self, words: str) -> tuple[str, ...]:
        """The kinds of text on which it "helped", or "hurt"."""
        return tuple(f.condition for f in self.findings if f.words == words)

    @property
    def summary(self) -> str:
        """One sentence."""
        told = [f"{verb} on {', '.join(self.on(verb))}" for verb in ("helped", "hurt") if self.on(verb)]
        words = " and ".join(told) or "makes no clear difference on any kind of text"
        return f"{self.label} {words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was compared and what came out. ``best``: for each kind of text the trial that is better than without and
    than every other beyond the noise, or None. ``str`` gives tables in words."""

    metric: str  # accuracy | bits per byte
    documents: int
    held_out: int
    seeds: int
    trials: tuple[Trial, ...]
    best: Mapping[str, str | None]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        better = "higher" if self.metric == "accuracy" else "lower"
        lines = [
            f"{self.metric} ({better} is better) on {self.held_out} held-out documents, after training on "
            f"{self.documents} without and with children; {self.seeds} seeds; 95 % intervals over documents and seeds"
        ]
        for trial in self.trials:
            lines += ["", f"{trial.label}: {trial.children:.0f} children", ""]
            lines += ["| text | without | with | better by (95 % interval) | it |", "|---|---|---|---|---|"]
            for f in trial.findings:
                interval = f"{f.better.mean:+.3f} ({f.better.low:+.3f} to {f.better.high:+.3f})"
                lines.append(f"| {f.condition} | {f.without:.3f} | {f.with_:.3f} | {interval} | {f.words} |")
        lines += ["", *(trial.summary + "." for trial in self.trials)]
        for condition, label in self.best.items():
            lines.append(f"best on {condition}: {label or 'nothing stands out of the noise'}")
        return "\n".join([*lines, *self.notes])

    def json(self) -> dict[str, Any]:
        """As plain values, for a report."""
        trials = [
            {
                "label": trial.label,
                "children": trial.children,
                "summary": trial.summary,
                "findings": [
                    {
                        "condition": f.condition,
                        "without": f.without,
                        "with": f.with_,
                        "better": [f.better.mean, f.better.low, f.better.high],
                        "verdict": f.words,
                    }
                    for f in trial.findings
                ],
            }
            for trial in self.trials
        ]
        facts = {key: getattr(self, key) for key in ("metric", "documents", "held_out", "seeds")}
        return {**facts, "trials": trials, "best": dict(self.best), "notes": list(self.notes)}


def judge_corpus(folder: Path, operations: Sequence[Operation], *, label: str | None = None, **more: Any) -> Verdict:
    """``judge`` on the documents of a built corpus: as many as a proxy needs, drawn by chance; children count for
    nothing. Raises ``InputError`` for what is no corpus."""
    files = {name: sorted((folder / "data").glob(f"{name}-*.parquet")) for name in ("train", "held_out")}
    if not files["train"]:
        raise InputError("this is no corpus: it has no data/train-*.parquet", where=str(folder))
    train, held_out = side_of(files["train"], label, train=True), side_of(files["held_out"], label, train=False)
    return judge(train, held_out, operations, label=label, **more)


def judge(
    train: Side,
    held_out: Side,
    operations: Sequence[Operation],
    *,
    label: str | None = None,
    seeds: int = 5,
    max_share: float = MAX_SHARE,
    paraphrase: Paraphrase | None = None,
    tick: Callable[[], None] | None = None,
) -> Verdict:
    """Train the proxy ``seeds`` times with and without ``operations`` on ``train``, score it on ``held_out`` as it is
    and damaged.

    ``label`` says which labels the sides hold (None: bits per byte). ``max_share`` bounds children as in the corpus.
    ``paraphrase`` says texts otherwise (a translator there and back, say); without it, by a list of English phrases.
    Raises ``InputError`` where a side has too few documents or labels.
    """
    _check(train, held_out, operations, label, seeds)
    labels = dict.fromkeys(operation.label for operation in operations)
    groups: list[tuple[str, Sequence[Operation]]] = [(n, [o for o in operations if o.label == n]) for n in labels]
    if len(groups) > 1:
        groups.append((TOGETHER, operations))
    texts, notes = conditions(held_out, seeds, paraphrase)
    train, fit = (train, []) if label else train.without(FIT)
    found = run_trials(train, held_out, groups, texts, label=label, max_share=max_share, fit=fit, tick=tick)
    trials = tuple(
        Trial(
            label=name,
            children=found[name].children,
            findings=tuple(_finding(c, found[name].by[c], held_out.groups) for c in texts),
        )
        for name, _ in groups
    )
    best = {c: _best({name: s.by[c].better for name, s in found.items()}, held_out.groups) for c in texts}
    return Verdict(
        metric="accuracy" if label else "bits per byte",
        documents=len(train.texts),
        held_out=len(held_out.texts),
        seeds=seeds,
        trials=trials,
        best=best,
        notes=notes,
    )


def _check(train: Side, held_out: Side, operations: Sequence[Operation], label: str | None, seeds: int) -> None:
    if not operations:
        raise InputError("there is no operation to judge", hint="write [[data.augment]] tables")
    if not 2 <= seeds <= 50:
        raise InputError(f"{seeds} seeds; from 2 (one says nothing of chance) to 50")
    different = len(set(held_out.groups))
    if len(train.texts) < _LEAST_TRAIN or different < _LEAST_HELD_OUT:
        found = f"{len(train.texts)} training documents and {different} held-out ones of different groups"
        of = "" if label is None else f" with a '{label}'"
        raise InputError(
            f"{found}{of}; a verdict needs at least {_LEAST_TRAIN} and {_LEAST_HELD_OUT}",
            hint="raise data.held_out" if label is None else f"known keys: {', '.join(train.keys) or 'none'}",
        )
    if label is not None and len(set(train.labels)) < 2:
        raise InputError(f"all training documents have the same '{label}'")


def _finding(condition: str, scores: Scores, groups: Sequence[Hashable]) -> Finding:
    return Finding(
        condition=condition,
        without=float(scores.without.mean()),
        with_=float(scores.with_.mean()),
        better=interval(scores.better, groups),
    )


def interval(better: NDArray[np.float64], groups: Sequence[Hashable], confidence: float = _CONFIDENCE) -> Interval:
    """The mean of ``better`` (S seeds, N documents) with an interval for other documents and other seeds: the
    bootstrap's half-widths over documents and Student's over seeds, added in squares.
    """
    found = paired_bootstrap(better.mean(axis=0), np.zeros(better.shape[1]), groups, confidence=confidence)
    if len(better) < 2:
        return found
    spread = float(better.mean(axis=1).std(ddof=1)) / math.sqrt(len(better))
    half = student_quantile(0.5 + confidence / 2, len(better) - 1) * spread
    return Interval(
        mean=found.mean,
        low=found.mean - math.hypot(found.mean - found.low, half),
        high=found.mean + math.hypot(found.high - found.mean, half),
        n_clusters=found.n_clusters,
    )


def _best(better: Mapping[str, NDArray[np.float64]], groups: Sequence[Hashable]) -> str | None:
    """The trial that beats none and every other, with the chance of error shared among these comparisons."""
    name = max(better, key=lambda key: float(better[key].mean()))
    rivals = [np.zeros_like(better[name]), *(values for other, values in better.items() if other != name)]
    confidence = 1 - (1 - _CONFIDENCE) / len(rivals)
    clear = all(interval(better[name] - rival, groups, confidence).low > 0 for rival in rivals)
    return name if clear else None
