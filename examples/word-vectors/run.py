"""Word2Vec and GloVe on one corpus: likeness, analogies, nearest words, and a picture of the space.

`python examples/word-vectors/run.py [--threads 2]`: builds the corpus of ``lamina.toml`` beside this file, trains both,
prints what they say, and writes ``space.svg`` into the state folder. The questions (WordSim-353, SimLex-999, Google's
analogies) lie in gensim's wheel, which is fetched and read; none of its code runs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from lamina.kit.packages import fetch_location
from lamina.kit.progress import open_progress
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.vector_files import read_vectors
from lamina.recipes import vectors
from lamina.recipes.collect import cache_folder
from lamina.recipes.stack import open_stack
from lamina.recipes.up import build_data

HERE = Path(__file__).resolve().parent
QUESTIONS = ("wordsim353.tsv", "simlex999.txt", "questions-words.txt")
ASKED = ("whale", "president", "war", "river", "music", "friend")
GROUPS = {
    "sea": ("whale", "ship", "sea", "captain", "boat", "sail", "harpoon"),
    "state": ("president", "congress", "government", "law", "treaty", "senate", "constitution"),
    "music": ("music", "song", "album", "band", "guitar", "singer", "jazz"),
    "science": ("physics", "chemistry", "theory", "energy", "mathematics", "species", "cells"),
    "chat": ("lol", "hey", "cool", "haha", "movie", "friends", "college"),
}


def main() -> None:
    """Everything, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    stack = open_stack(HERE / "lamina.toml")
    build_data(stack, json=False)
    gensim = fetch_location("pypi:gensim==4.4.0", cache=cache_folder(stack), progress=open_progress())
    tests = gensim.path / "gensim" / "test" / "test_data"
    made: dict[str, KeyedVectors] = {}
    for algorithm in ("skip-gram", "glove"):
        file = stack.state / f"{algorithm}.bin"
        began = time.monotonic()
        settings = vectors.Settings(algorithm=algorithm, threads=threads, seed=1)
        print(vectors.train(file, [], settings, stack=stack.file))
        print(f"{algorithm}: {time.monotonic() - began:.0f} s with reading the corpus")
        print(vectors.evaluate(file, [tests / name for name in QUESTIONS]))
        made[algorithm] = read_vectors(file)
        for word in ASKED:
            near = ", ".join(f"{other} {cosine:.2f}" for other, cosine in made[algorithm].most_similar(word, topn=6))
            print(f"  {word}: {near}")
    print(f"wrote {draw(made, stack.state / 'space.svg')}")


def draw(made: dict[str, KeyedVectors], out: Path) -> Path:
    """The words of ``GROUPS`` on the two main axes of their vectors (PCA), one panel for each of ``made``."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "words"}
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(made), figsize=(7 * len(made), 6))
    for panel, (name, known) in zip(panels, made.items(), strict=True):
        words = [word for group in GROUPS.values() for word in group if word in known]
        rows = known.unit[[known.index[word] for word in words]]
        centred = rows - rows.mean(axis=0)
        _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
        places = dict(zip(words, centred @ axes[:2].T, strict=True))
        for group, members in GROUPS.items():
            shown = [places[word] for word in members if word in places]
            panel.scatter(*np.array(shown).T, s=18, label=group)
        for word, place in places.items():
            panel.annotate(word, place, xytext=(3, 3), textcoords="offset points", fontsize=8)
        share = (sizes[:2] ** 2).sum() / (sizes**2).sum()
        panel.set(title=f"{name} (two axes hold {share:.0%} of the spread)", xticks=[], yticks=[])
        panel.margins(0.12)
    panels[0].legend(loc="best", fontsize=8)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})
    return out


if __name__ == "__main__":
    main()
