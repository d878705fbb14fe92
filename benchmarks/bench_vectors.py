"""Word vectors against their peers: `python benchmarks/bench_vectors.py [word2vec|glove …] [--quick] [--json]`.

Both sides train on one file of sentences (leads of Wikipedia articles, Moby Dick, chats, documentation; words in lower
case) in turns. Ours is compiled before the clock starts. Quality is the same for both sides' vectors and judged by the
same code: WordSim-353, SimLex-999 and Google's analogies, as gensim's wheel carries them.

word2vec: skip-gram, 100 dimensions, window 5, 5 negatives, sample 1e-3, on 1 and 2 threads; raw words a second of
training, with the time from the file to saved vectors beside it; rates end where gensim's end, which on two threads is
above the one that it is given. Peer: gensim with `corpus_file`, in .bench/gensim.
glove: from the file to a file of vectors, 100 dimensions, window 10, x_max 10, 2 threads. Peer: the authors' four
programs, in .bench/glove/bin; no package registry has them, so whoever wants the row puts them there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `lamina` itself sets it

import numba
import polars as pl
from machine import ROOT, machine
from pages import leads, pages

import lamina
from lamina.model.vectors.evaluation import evaluate_analogies, evaluate_likeness
from lamina.model.vectors.glove import GloveParameters, train_glove
from lamina.model.vectors.vector_files import read_vectors, write_vectors
from lamina.model.vectors.vocabulary import Corpus, Vocabulary, read_sentences
from lamina.model.vectors.word2vec import Word2VecParameters, train_word2vec

NAMES = ("word2vec", "glove")
WORDS, EPOCHS = 4_000_000, {"word2vec": 2, "glove": 5}
FOLDER = ROOT / ".cache" / "bench" / "vectors"
GENSIM, GLOVE = ROOT / ".bench" / "gensim", ROOT / ".bench" / "glove" / "bin"
PROGRAMS = ("vocab_count", "cooccur", "shuffle", "glove")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def texts() -> Iterator[str]:
    """English of several kinds, the more general first."""
    places = json.loads((ROOT / ".cache" / "material" / "places.json").read_text())
    yield from leads("en-us")
    yield next(Path(places["moby-dick"]).rglob("data.txt")).read_text()
    chats = json.loads(next(Path(places["chitchat"]).rglob("dataset.json")).read_text())
    for chat in chats.values():
        for turn in chat["messages"]:
            yield "\n".join(message["text"] for message in turn)
    yield from pl.read_parquet(pages())["text"]


def corpus(words: int) -> Path:
    """A sentence a line, in random order; at least ``words`` words, where there are so many.

    In random order since gensim's rate falls by lines and ours by words: with the long lines of articles first, gensim
    learns these at a higher rate (docs/log.md).
    """
    place, count = FOLDER / f"sentences-{words}-mixed.txt", 0
    if not place.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        for line in (line for text in texts() for line in text.lower().split("\n")):
            found = _WORD.findall(line)
            if len(found) > 1:
                lines.append(" ".join(found) + "\n")
                count += len(found)
            if count >= words:
                break
        random.Random(0).shuffle(lines)
        staged = place.with_suffix(".part")
        staged.write_text("".join(lines))
        staged.rename(place)
    return place


def read(path: Path) -> tuple[Vocabulary, Corpus]:
    with path.open() as lines:
        return read_sentences(map(str.split, lines))


def quality(path: Path) -> dict[str, float]:
    """Three scores of a file of vectors."""
    questions = next(GENSIM.rglob("test_data/wordsim353.tsv")).parent
    vectors = read_vectors(path)
    return {
        "WordSim-353": evaluate_likeness(vectors, questions / "wordsim353.tsv").spearman,
        "SimLex-999": evaluate_likeness(vectors, questions / "simlex999.txt").spearman,
        "analogies": evaluate_analogies(vectors, questions / "questions-words.txt").accuracy,
    }


def compared(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> str:
    """Mean scores of both sides, and the range over the runs."""

    def told(name: str, scores: list[dict[str, float]]) -> str:
        values = [score[name] for score in scores]
        return f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"

    return ", ".join(f"{name} {told(name, ours)} against {told(name, theirs)}" for name in ours[0])


def run_gensim(*arguments: object) -> dict[str, Any]:
    """What `peer_gensim.py` says."""
    command = [str(GENSIM / "bin" / "python"), str(Path(__file__).with_name("peer_gensim.py")), *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def their_last_rate(threads: int, epochs: int) -> float:
    """Where gensim ends: each of its threads lets the rate fall, every epoch, by what it did of the whole file."""
    plain = Word2VecParameters()
    done = (epochs - 1 + 1 / threads) / epochs
    return plain.learning_rate - (plain.learning_rate - plain.final_rate) * done


def word2vec_rows(words: int, runs: int) -> Iterator[dict[str, Any]]:
    path, epochs = corpus(words), EPOCHS["word2vec"]
    vocabulary, small = read(path)
    warm = Corpus(small.tokens[:2000], small.ends[small.ends < 2000], 2000)
    train_word2vec(vocabulary, warm, parameters=Word2VecParameters(epochs=1, threads=1))
    seen = small.seen
    there = (GENSIM / "done").exists()
    for threads, reproducible in ((1, False), (2, False), (2, True)):
        parts: dict[str, list[Any]] = {"ours": [], "theirs": [], "whole": [], "their_whole": [], "q": [], "their_q": []}
        for seed in range(1, runs + 1):
            parameters = Word2VecParameters(
                epochs=epochs,
                threads=threads,
                seed=seed,
                reproducible=reproducible,
                final_rate=their_last_rate(threads, epochs),
            )
            begin = time.perf_counter()
            ranked = read(path)
            ready = time.perf_counter()
            trained = train_word2vec(*ranked, parameters=parameters)
            parts["ours"].append(seen * epochs / (time.perf_counter() - ready))
            write_vectors(trained.vectors, FOLDER / "ours.bin")
            parts["whole"].append(time.perf_counter() - begin)
            if there:
                told = run_gensim(path, FOLDER / "theirs.bin", threads, epochs, seed)
                parts["theirs"].append(seen * epochs / told["seconds"])
                parts["their_whole"].append(told["whole"])
                parts["q"].append(quality(FOLDER / "ours.bin"))
                parts["their_q"].append(quality(FOLDER / "theirs.bin"))
        way = f"{threads} thread{'s' * (threads > 1)}{', reproducible' * reproducible}"
        row = {
            "work": f"word2vec skip-gram d=100, {seen / 1e6:.1f}M words x {epochs}, {way}",
            "peer": "gensim with corpus_file" + (", which has no such mode" if reproducible else ""),
            "unit": "raw words/s",
        }
        extra = {"gensim": told["version"]} if there else {}
        held = compared(parts["q"], parts["their_q"]) if there else ""
        if there:
            whole, their_whole = (statistics.median(parts[k]) for k in ("whole", "their_whole"))
            held += f"; from file to vectors {whole:.1f} s against {their_whole:.1f} s"
            held += f"; gensim opens our file: {run_gensim(FOLDER / 'ours.bin')['read']:,} vectors"
        yield finished(row, parts["ours"], parts["theirs"], held, extra, "make bench-setup")


def run_glove(path: Path, threads: int, epochs: int, seed: int) -> float:
    """Seconds of the authors' four programs, one after another as their demonstration calls them."""
    work = FOLDER / "glove"
    work.mkdir(exist_ok=True)
    quiet = ["-verbose", "0"]
    steps = [
        (["vocab_count", "-min-count", "5", *quiet], path, work / "vocab.txt"),
        (["cooccur", "-memory", "4", "-vocab-file", "vocab.txt", "-window-size", "10", *quiet], path, work / "pairs"),
        (["shuffle", "-memory", "4", "-seed", str(seed), *quiet], work / "pairs", work / "shuffled"),
        (["glove", "-save-file", "vectors", "-input-file", "shuffled", "-vocab-file", "vocab.txt", *quiet], None, None),
    ]
    shape = {"threads": threads, "iter": epochs, "seed": seed, "vector-size": 100, "x-max": 10, "binary": 0}
    steps[-1][0].extend(word for k, v in shape.items() for word in (f"-{k}", str(v)))
    begin = time.perf_counter()
    for command, source, target in steps:
        inward = source.open("rb") if source else None
        outward = target.open("wb") if target else subprocess.DEVNULL
        program = [str(GLOVE / command[0]), *command[1:]]
        subprocess.run(program, cwd=work, stdin=inward, stdout=outward, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def glove_rows(words: int, runs: int) -> Iterator[dict[str, Any]]:
    path, epochs, threads = corpus(words), EPOCHS["glove"], 2
    vocabulary, small = read(path)
    warm = Corpus(small.tokens[:2000], small.ends[small.ends < 2000], 2000)
    train_glove(vocabulary, warm, parameters=GloveParameters(epochs=1, threads=2))
    there = all((GLOVE / name).exists() for name in PROGRAMS) and (GENSIM / "done").exists()
    seen = small.seen
    ours, theirs, scores, their_scores = [], [], [], []
    for seed in range(1, runs + 1):
        begin = time.perf_counter()
        ranked = read(path)
        trained = train_glove(*ranked, parameters=GloveParameters(epochs=epochs, threads=threads, seed=seed))
        write_vectors(trained.vectors, FOLDER / "glove.txt", form="text")
        ours.append(seen * epochs / (time.perf_counter() - begin))
        if there:
            theirs.append(seen * epochs / run_glove(path, threads, epochs, seed))
            scores.append(quality(FOLDER / "glove.txt"))
            their_scores.append(quality(FOLDER / "glove" / "vectors.txt"))
    row = {
        "work": f"glove d=100, window 10, {seen / 1e6:.1f}M words x {epochs}, {threads} threads, end to end",
        "peer": "the authors' C programs (-Ofast -march=native)",
        "unit": "raw words/s",
    }
    held = compared(scores, their_scores) if there else ""
    if there:
        whole = [seen * epochs / statistics.median(rates) for rates in (ours, theirs)]
        held += f"; from file to vectors {whole[0]:.1f} s against {whole[1]:.1f} s"
    yield finished(row, ours, theirs, held, {"GloVe": "52f7dbc"} if there else {}, "in no package registry")


def finished(
    row: dict[str, Any], ours: list[float], theirs: list[float], held: str, extra: dict[str, str], missing: str
) -> dict[str, Any]:
    """A row with its figures, rates of both sides in turns."""
    versions = {"lamina": lamina.__version__, "numba": numba.__version__, **extra}
    row |= {"ours": statistics.median(ours), "runs": len(ours), "machine": machine(), "versions": versions}
    if not theirs:
        return row | {"theirs": f"not installed: {missing}"}
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    spread = f"{min(ratios):.1f}-{max(ratios):.1f}"
    return row | {
        "theirs": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "spread": spread,
        "quality": held,
    }


ROWS: dict[str, Callable[[int, int], Iterator[dict[str, Any]]]] = {"word2vec": word2vec_rows, "glove": glove_rows}


def main() -> int:
    """Run the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object a row")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    words, runs = (WORDS // 8, 1) if arguments.quick else (WORDS, arguments.runs)
    for name in arguments.names or NAMES:
        for row in ROWS[name](words, runs):
            ratio = f"{row['ratio']:.1f} ({row['spread']})" if "ratio" in row else "-"
            told = f"{row['work']} | {row['peer']} | {row['ours']:.4g} | {row.get('theirs')} {row['unit']} | {ratio}"
            sys.stdout.write((json.dumps(row) if arguments.json else f"{told} | {row.get('quality', '')}") + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
