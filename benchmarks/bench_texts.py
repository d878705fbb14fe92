"""Whole texts on a processor: `bench_texts.py [embed] [translate] [--peers …] [--quick] [--json]`.

embed      vectors of all-MiniLM-L6-v2, from text to vector, 64 texts at a time, of about 16 and of about 128 tokens;
           quality: the mean cosine to the vectors of sentence-transformers in float32, and Spearman on WordSim-353,
           where .bench/gensim has it
translate  200 sentences by an encoder-decoder of Marian's shape, greedily and with 4 beams (`--beams`). Its weights are
           random: an answer has 32 tokens on all sides, mostly one token again and again; quality: how much of an
           answer's beginning is that of `transformers` in float32, which only shows that the same is computed

Each side is a process (`sides.py`), in turns, pair by pair; ours is the model as the server opens it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from machine import ROOT, machine, versions_of  # beside this file
from numpy.typing import NDArray
from sides import Side, table
from texts_peers import PEERS, WHOLE, open_ours, open_peer
from texts_work import sentences, texts

AT_ONCE, TOKENS = 64, 32
COMPARED = 20  # answers that quality looks at
OURS = "lamina"
#: Work in words, what is asked of a side, and of how many texts.
Work = tuple[str, dict[str, Any]]


def work_of(row: str, beams: list[int]) -> list[Work]:
    """What a row measures."""
    if row == "embed":
        lengths = ((16, range(12, 21), 256), (128, range(112, 145), 64))
        return [
            (f"vectors, {AT_ONCE} texts of about {tokens} tokens at a time", {"texts": texts(some, count)})
            for tokens, some, count in lengths
        ]
    asked = {"texts": sentences(200), "tokens": TOKENS}
    words = f"200 sentences by random weights of Marian's shape, answers of {TOKENS} tokens"
    return [(f"translate {words}, {k} beam{'s' * (k > 1)}", asked | {"beams": k}) for k in beams]


def rows(row: str, names: list[str], beams: list[int], runs: int, threads: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of all peers, one kind of work after another."""
    whole = WHOLE[row]
    sides = {OURS: open_ours(row, threads)} | {n: open_peer(row, n, threads) for n in dict.fromkeys((*names, whole))}
    try:
        for words, asked in work_of(row, beams):
            asked = asked | ({"at_once": AT_ONCE} if row == "embed" else {})
            quality = vector_quality(sides, asked, whole) if row == "embed" else text_quality(sides, asked, whole)
            rates: dict[str, list[float]] = {side: [] for side in (OURS, *names)}
            for _ in range(runs):
                for side, of_side in rates.items():
                    of_side.append(len(asked["texts"]) / sides[side].turn(asked)["seconds"])
            yield [row_of(words, row, name, rates, quality, threads) for name in names]
    finally:
        for process in sides.values():
            process.close()


def row_of(
    words: str, row: str, name: str, rates: dict[str, list[float]], quality: dict[str, str], threads: int
) -> dict[str, Any]:
    """The figures of a row."""
    peer = PEERS[row][name]
    ratios = [a / b for a, b in zip(rates[OURS], rates[name], strict=True)]
    return {
        "work": words,
        "peer": peer.words,
        "ours": statistics.median(rates[OURS]),
        "theirs": statistics.median(rates[name]),
        "ratio": statistics.median(ratios),
        "unit": "texts/s",
        "runs": len(ratios),
        "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
        "quality": f"{quality[OURS]} against {quality[name]}",
        "versions": versions_of("lamina", "torch") | peer.versions,
        "machine": f"{machine()}; {threads} threads",
    }


def vector_quality(sides: dict[str, Side], asked: dict[str, Any], whole: str) -> dict[str, str]:
    """Of each side: the mean cosine to ``whole``'s vectors, and likeness of words against people's."""
    pairs = next((ROOT / ".bench" / "gensim").rglob("test_data/wordsim353.tsv"), None)
    vectors = {name: kept(side, asked) for name, side in sides.items()}  # a first turn, which is not counted
    found = {}
    for name, side in sides.items():
        cosine = float((vectors[name] * vectors[whole]).sum(1).mean())
        found[name] = f"cosine {cosine:.4f} to float32" + (
            f", WordSim-353 {likeness(side, pairs):.3f}" if pairs else ""
        )
    return found


def kept(side: Side, asked: dict[str, Any]) -> NDArray[np.float32]:
    """The vectors (N, D) that a side makes."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "vectors.npy")
        side.turn(asked | {"keep": file})
        return np.asarray(np.load(file), np.float32)


def likeness(side: Side, pairs: Path) -> float:
    """Spearman between a side's cosines of words and people's scores."""
    from lamina.model.vectors.evaluation import evaluate_likeness
    from lamina.model.vectors.keyed_vectors import KeyedVectors

    lines = [line.split("\t") for line in pairs.read_text().splitlines() if line and not line.startswith("#")]
    words = list(dict.fromkeys(word for line in lines for word in line[:2]))
    vectors = KeyedVectors(words, kept(side, {"texts": words, "at_once": AT_ONCE}))
    return evaluate_likeness(vectors, pairs).spearman


def text_quality(sides: dict[str, Side], asked: dict[str, Any], whole: str) -> dict[str, str]:
    """Of each side: which part of its answers is the beginning of ``whole``'s."""
    asked = asked | {"texts": asked["texts"][:COMPARED]}  # a first turn, which is not counted
    said = {name: side.turn(asked)["texts"] for name, side in sides.items()}
    found = {}
    for name, answers in said.items():
        pairs = zip(answers, said[whole], strict=True)
        share = statistics.mean(same_beginning(answer, wanted) for answer, wanted in pairs)
        found[name] = f"the first {share:.0%} of an answer as in float32"
    return found


def same_beginning(answer: str, wanted: str) -> float:
    """Which part of ``wanted`` stands before the first character in which ``answer`` differs."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(answer, wanted, strict=False)))
    return same / max(1, len(wanted))


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=list(PEERS))
    parser.add_argument("--peers", nargs="*", help="by default all of the rows")
    parser.add_argument("--beams", nargs="*", type=int, default=[1, 4])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    known = [name for of_row in PEERS.values() for name in of_row]
    if set(arguments.rows) - set(PEERS) or set(arguments.peers or ()) - set(known):
        parser.error(f"known rows: {', '.join(PEERS)}; peers: {', '.join(known)}")
    for row in arguments.rows or list(PEERS):
        names = [name for name in PEERS[row] if arguments.peers is None or name in arguments.peers]
        runs = 2 if arguments.quick else arguments.runs
        for found in rows(row, names, arguments.beams, runs, arguments.threads):
            sys.stdout.write(("\n".join(map(json.dumps, found)) if arguments.json else table(found)) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
