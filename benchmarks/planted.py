"""A corpus in which the duplicates are known: real texts, edited copies of some, and look-alikes that are none.

Copies have word 5-gram Jaccard similarities over the whole range; each pair's similarity is counted anew here, on the
words themselves, by none of the programs that are compared.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import ROOT  # beside this file

WORD = re.compile(r"[^\W_]+")
_ROW_GROUP = 500


@dataclass(frozen=True)
class Planted:
    """``pairs``: id of the copy, id of its original, Jaccard similarity."""

    file: Path
    megabytes: float
    documents: int
    pairs: list[tuple[str, str, float]]


def planted(texts: list[str], file: Path, *, share: float = 0.3, seed: int = 7) -> Planted:
    """Write ``texts`` with copies of a ``share`` of them, shuffled, to ``file`` (columns id, text)."""
    draw = random.Random(seed)
    rows = [(f"o{n:07d}", text) for n, text in enumerate(texts)]
    long = alone(texts)
    pairs = []
    for number, n in enumerate(draw.sample(long, int(share * len(long)))):
        changed = edited(texts[n], draw.choice([0.0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.06, 0.12]), draw)
        rows.append((f"c{number:07d}", changed))
        pairs.append((rows[-1][0], rows[n][0], similarity(changed, texts[n])))
    draw.shuffle(rows)
    table = pa.table({"id": [i for i, _ in rows], "text": [t for _, t in rows]})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=_ROW_GROUP, compression="zstd")
    return Planted(file, sum(len(t.encode()) for _, t in rows) / 1e6, len(rows), pairs)


def alone(texts: list[str], words: int = 60, shared: float = 0.1) -> list[int]:
    """Texts of some length whose 5-grams stand in hardly any other text: a copy of them resembles nothing else."""
    sets = []
    for text in texts:
        found = WORD.findall(text.lower())
        sets.append(np.unique(np.array([hash(tuple(found[i : i + 5])) for i in range(len(found) - 4)], np.int64)))
    _, place, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    often = np.concatenate([np.zeros(1), np.cumsum(counts[place] > 1)])
    ends = np.cumsum([len(own) for own in sets])
    total = often[ends] - often[ends - [len(own) for own in sets]]
    return [n for n, own in enumerate(sets) if len(own) >= words and total[n] <= shared * len(own)]


def edited(text: str, rate: float, draw: random.Random) -> str:
    """``text`` with this share of its words replaced, left out or doubled; case and punctuation may change too."""
    tokens = re.split(r"(\s+)", text)
    for k in range(0, len(tokens), 2):
        if draw.random() < rate:
            tokens[k] = draw.choice(["", f"{tokens[k]} {tokens[k]}", f"other{draw.randrange(10**6)}"])
    changed = "".join(tokens)
    return draw.choice([changed, changed.upper(), changed.replace(",", " ;")])


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of word 5-grams, lower case, letters and digits."""
    words = [WORD.findall(t.lower()) for t in (a, b)]
    first, second = ({tuple(w[i : i + 5]) for i in range(max(len(w) - 4, 1))} for w in words)
    return len(first & second) / len(first | second)


def quality(pairs: list[tuple[str, str, float]], dropped: set[str], threshold: float = 0.8) -> str:
    """Precision and recall on the planted pairs: one of the two is dropped exactly where they are alike."""
    hit = {copy: copy in dropped or original in dropped for copy, original, _ in pairs}
    alike = [copy for copy, _, j in pairs if j >= threshold]
    unlike = [copy for copy, _, j in pairs if j < threshold]
    right = sum(hit[copy] for copy in alike)
    wrong = sum(hit[copy] for copy in unlike)
    return f"precision {right / max(right + wrong, 1):.4f}, recall {right / max(len(alike), 1):.4f} of {len(alike)}"


def small_texts() -> list[str]:
    """Moby Dick in pieces, the leads of Wikipedia and chats: what `make setup-dev` fetched."""
    places = json.loads((ROOT / ".cache" / "material" / "places.json").read_text())
    texts: list[str] = []
    for file in sorted(Path(places["moby-dick"]).rglob("*.txt")):
        words = file.read_text(encoding="utf-8", errors="replace").split(" ")
        texts += [" ".join(words[i : i + 400]) for i in range(0, len(words), 400)]
    for file in sorted(Path(places["wiki"]).rglob("summaries_*.json")):
        texts += [t for t in json.loads(file.read_text(encoding="utf-8")).values() if isinstance(t, str)]
    chats = json.loads((Path(places["chitchat"]) / "chitchat_dataset" / "dataset.json").read_text(encoding="utf-8"))
    for chat in chats.values():
        texts.append("\n".join(m["text"] for turn in chat["messages"] for m in turn))
    return list(dict.fromkeys(t for t in texts if len(t) > 40))
