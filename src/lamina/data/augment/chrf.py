"""chrF2: how near translations come to references, by character n-grams (Popović 2015, 2017). 0 to 100."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_ORDER = 6
_BETA2 = 4.0  # recall counts for twice as much as precision


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The corpus score as sacrebleu computes it (``nc:6|nw:0|space:no|eff:yes``), one reference a hypothesis."""
    totals = [[0, 0, 0] for _ in range(_ORDER)]
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours, theirs = "".join(hypothesis.split()), "".join(reference.split())
        for n in range(1, _ORDER + 1):
            a, b = _grams(ours, n), _grams(theirs, n)
            total = totals[n - 1]
            # As sacrebleu has it: where the reference is too short for an order, the hypothesis counts for none.
            total[0] += a.total() if b else 0
            total[1] += b.total()
            total[2] += (a & b).total()
    precision = recall = 0.0
    orders = 0
    for made, wanted, shared in totals:
        if made and wanted:
            precision += shared / made
            recall += shared / wanted
            orders += 1
    if not orders:
        return 0.0
    precision, recall = precision / orders, recall / orders
    below = _BETA2 * precision + recall
    return 100 * (1 + _BETA2) * precision * recall / below if below else 0.0


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))
