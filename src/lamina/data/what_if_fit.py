"""Thresholds from labels: for each rule the one that best separates what a person would keep from what not.

A rule is good by Youden's index (Youden 1950): the share of the bad documents that it drops less the share of the good
ones; dropping everything, or nothing, is worth 0. The rules are then chosen together, one after another, until none can
be bettered; what that is worth is measured on labels that were not used for choosing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lamina.data.clean.labels import Label
from lamina.data.clean.quality_training import check_labels
from lamina.data.units import SAMPLE_CHARACTERS, VERDICT
from lamina.data.what_if_signals import Signals, columns_of
from lamina.kit.identity import blake3_hex, text_hash

if TYPE_CHECKING:
    import polars as pl

CANDIDATES = 40  # values that are tried for a threshold
_FOLDS = 5
_ROUNDS = 4
_WORTH = 0.02  # of Youden's index: a change that gains less is none
_NUMBER = r"-?\d+(?:\.\d+)?"
_LIMIT = re.compile(
    rf"([A-Za-z_]\w*)\s*(?:<=|>=|<|>)\s*(?:CASE\s+WHEN\s[^()]*?\sELSE\s+)?({_NUMBER})(?![\w.])",
    re.IGNORECASE | re.DOTALL,
)
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a rule, or all together, does to labelled documents: how many of the bad and of the good it drops."""

    bad: int
    bad_dropped: int
    good: int
    good_dropped: int

    @property
    def precision(self) -> float | None:
        """Of what is dropped, the share that a person would drop; None where nothing is."""
        dropped = self.bad_dropped + self.good_dropped
        return self.bad_dropped / dropped if dropped else None

    @property
    def recall(self) -> float:
        """Of what a person would drop, the share that is dropped."""
        return self.bad_dropped / self.bad

    @property
    def index(self) -> float:
        """Youden's."""
        return self.recall - self.good_dropped / self.good


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A rule's expression now, and the one that separates best by itself."""

    label: str
    reason: str
    now: str
    best: str
    score_now: Score
    score_best: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """``alone``: each rule by itself; ``changes`` (label to expression): the rules to change when all work together,
    what they do then, and what that is worth on labels that were not used for choosing (in ``folds``)."""

    labels: int
    unknown: int  # labels of documents that this corpus does not know
    alone: tuple[Proposal, ...]
    changes: Mapping[str, str]
    now: Score
    together: Score
    unseen: Score
    folds: int = _FOLDS


@dataclass(frozen=True, slots=True)
class _Choice:
    """A rule's expressions to choose from, the present one first, and what each keeps, (C, N)."""

    step: Mapping[str, Any]
    expressions: tuple[str, ...]
    keeps: Bools


def plain(fitted: Fitted) -> dict[str, Any]:
    """As JSON, with the shares of each score."""

    def told(score: Score) -> dict[str, Any]:
        return {**asdict(score), "precision": score.precision, "recall": score.recall, "index": score.index}

    alone = [{**asdict(p), "score_now": told(p.score_now), "score_best": told(p.score_best)} for p in fitted.alone]
    scores = {name: told(getattr(fitted, name)) for name in ("now", "together", "unseen")}
    return {**asdict(fitted), **scores, "alone": alone}


def fit(signals: Signals, labels: Sequence[Label]) -> Fitted:
    """Thresholds for the corpus' rules from labels of its documents. Raises ``ConfigError`` for too few labels."""
    frame, keep = _labelled(signals, labels)
    known = [Label(line=0, id=None, text=None, keep=bool(k)) for k in keep]
    check_labels(known, f"labels ({len(labels) - len(known)} of {len(labels)} are not of this corpus)")
    choices = [_choice(step, frame) for step in signals.decides if step["phase"] == 0]
    bad = ~keep
    present = [0] * len(choices)
    chosen = _together(choices, bad)
    proposals = []
    for choice in choices:
        if len(choice.expressions) > 1:
            best = _best(np.array([_index(~keeps, bad) for keeps in choice.keeps]))
            proposals.append(
                Proposal(
                    label=choice.step["label"],
                    reason=choice.step["reason"],
                    now=choice.expressions[0],
                    best=choice.expressions[best],
                    score_now=_score(~choice.keeps[0], bad),
                    score_best=_score(~choice.keeps[best], bad),
                )
            )
    return Fitted(
        labels=len(keep),
        unknown=len(labels) - len(keep),
        alone=tuple(proposals),
        changes={c.step["label"]: c.expressions[n] for c, n in zip(choices, chosen, strict=True) if n},
        now=_score(_dropped(choices, present), bad),
        together=_score(_dropped(choices, chosen), bad),
        unseen=_score(_unseen(choices, bad, frame["id"].to_list()), bad),
    )


def _labelled(signals: Signals, labels: Sequence[Label]) -> tuple[pl.DataFrame, Bools]:
    """The signals of labelled documents, in the order of their ids, and what the labels say."""
    import polars as pl

    found = ids_of_texts(signals.corpus, [x.text for x in labels if x.id is None and x.text is not None])
    verdicts = {id: x.keep for x in labels if (id := x.id or found.get(x.text or ""))}
    expressions = [step["expression"] for step in signals.decides if step["phase"] == 0]
    names = [name for name in columns_of(expressions, signals.columns) if not signals.columns[name]]
    names += [VERDICT + step["label"] for step in signals.decides if step["phase"] == 0]
    scan = pl.scan_parquet(signals.files[0]).select("id", *(n for n in names if n != "id"))
    frame = scan.filter(pl.col("id").is_in(pl.Series(list(verdicts), dtype=pl.String).implode())).collect().sort("id")
    return frame, np.array([verdicts[id] for id in frame["id"]], np.bool_)


def ids_of_texts(corpus: Path, texts: Sequence[str]) -> dict[str, str]:
    """The documents with these texts, kept ones and samples of dropped ones; a text may be a document's beginning."""
    import polars as pl

    if not texts:
        return {}
    hashes = {text_hash(text): text for text in texts}
    found: dict[str, str] = {}
    for file in sorted((corpus / "data").glob("*.parquet")):
        rows = pl.scan_parquet(file).select("id", "text_hash")
        some = rows.filter(pl.col("text_hash").is_in(pl.Series(list(hashes)).implode())).collect()
        found |= {hashes[hash]: id for id, hash in some.iter_rows()}
    if (corpus / "dropped.parquet").exists():
        begins = {text[:SAMPLE_CHARACTERS]: text for text in texts}
        samples = pl.scan_parquet(corpus / "dropped.parquet").select(
            "id", head=pl.col("text").str.head(SAMPLE_CHARACTERS)
        )
        some = samples.filter(pl.col("head").is_in(pl.Series(list(begins)).implode())).collect()
        found |= {begins[head]: id for id, head in some.iter_rows()}
    return found


def _choice(step: Mapping[str, Any], frame: pl.DataFrame) -> _Choice:
    """The expressions that a rule can have: its own, and those with one threshold at another place."""
    import polars as pl

    own = str(step["expression"])
    others: list[str] = []
    for limit in _LIMIT.finditer(own):
        name, begin, end = limit[1], *limit.span(2)
        if name in frame.columns and frame[name].dtype.is_numeric():
            others += [own[:begin] + value + own[end:] for value in _values(frame[name])]
    others = [other for other in dict.fromkeys(others) if other != own]
    said = frame[VERDICT + step["label"]].fill_null(True).to_numpy()
    try:
        parsed = [pl.sql_expr(e).cast(pl.Boolean).fill_null(True).alias(str(n)) for n, e in enumerate(others)]
        keeps = np.vstack([said, *(column.to_numpy() for column in frame.select(parsed))]) if parsed else said[None]
    except pl.exceptions.ColumnNotFoundError:  # it asks for the text itself, which signals do not keep
        others, keeps = [], said[None]
    return _Choice(step, (own, *others), keeps)


def _values(column: pl.Series) -> list[str]:
    """Thresholds between the values of labelled documents, evenly spread over them."""
    values = np.unique(column.drop_nulls().cast(float).to_numpy())
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    middles = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    chosen = middles[np.unique(np.linspace(0, len(middles) - 1, CANDIDATES).astype(int))]
    return [f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}" for value in chosen]


def _dropped(choices: Sequence[_Choice], which: Sequence[int]) -> Bools:
    dropped: Bools = ~np.logical_and.reduce([c.keeps[n] for c, n in zip(choices, which, strict=True)])
    return dropped


def _index(dropped: Bools, bad: Bools) -> float:
    return float(dropped[bad].mean() - dropped[~bad].mean())


def _together(choices: Sequence[_Choice], bad: Bools, rows: Bools | None = None) -> list[int]:
    """The best expression of each rule given the others', in turn, from the present ones on."""
    rows = np.ones(len(bad), np.bool_) if rows is None else rows
    keeps = [choice.keeps[:, rows] for choice in choices]
    bad = bad[rows]
    which = [0] * len(choices)
    says_no = np.zeros(len(bad), int)
    for keep in keeps:
        says_no += ~keep[0]
    for _ in range(_ROUNDS):
        moved = False
        for place, keep in enumerate(keeps):
            others = says_no - (~keep[which[place]]).astype(int) > 0
            dropped = others | ~keep
            worth = dropped[:, bad].mean(axis=1) - dropped[:, ~bad].mean(axis=1)
            best = _best(worth)
            if worth[best] > worth[which[place]] + _WORTH:
                says_no = says_no + ~keep[best] - (~keep[which[place]]).astype(int)
                which[place], moved = best, True
        if not moved:
            break
    return which


def _best(worth: NDArray[np.float64]) -> int:
    """The present expression if none is better, else the one in the middle of the best: far from either side."""
    ties = np.flatnonzero(worth >= worth.max() - 1e-12)
    return 0 if ties[0] == 0 else int(ties[len(ties) // 2])


def _unseen(choices: Sequence[_Choice], bad: Bools, ids: Sequence[str]) -> Bools:
    """What would be dropped of each label by thresholds that the other folds chose."""
    order = np.argsort([blake3_hex("fold", id) for id in ids], kind="stable")
    folds = np.zeros(len(bad), np.int64)
    for kind in (True, False):
        mine = order[bad[order] == kind]
        folds[mine] = np.arange(len(mine)) % _FOLDS
    dropped = np.zeros(len(bad), np.bool_)
    for fold in range(_FOLDS):
        which = _together(choices, bad, folds != fold)
        dropped[folds == fold] = _dropped(choices, which)[folds == fold]
    return dropped


def _score(dropped: Bools, bad: Bools) -> Score:
    return Score(
        bad=int(bad.sum()),
        bad_dropped=int((dropped & bad).sum()),
        good=int((~bad).sum()),
        good_dropped=int((dropped & ~bad).sum()),
    )
