from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.kit.errors import ConfigError, InputError, StageError
from lamina.kit.progress import open_progress
from lamina.model.vectors import cooccurrence
from lamina.model.vectors import glove as glove_module
from lamina.model.vectors.cooccurrence import PAIR, Cooccurrences, dense_rows
from lamina.model.vectors.glove import RECORD, GloveParameters, train_glove
from lamina.model.vectors.glove_kernels import learn_records
from lamina.model.vectors.vocabulary import Corpus, read_sentences

SMALL = GloveParameters(width=24, window=4, epochs=3, threads=1)


def brute_force(corpus: Corpus, window: int) -> dict[tuple[int, int], float]:
    """All pairs, both ways, as the authors' program counts them; the half with row <= column."""
    counts: Counter[tuple[int, int]] = Counter()
    begin = 0
    for end in corpus.ends:
        words = corpus.tokens[begin:end].tolist()
        for i, word in enumerate(words):
            for d in range(1, min(window, i) + 1):
                counts[word, words[i - d]] += 1 / d
                counts[words[i - d], word] += 1 / d
        begin = end
    return {pair: count for pair, count in counts.items() if pair[0] <= pair[1]}


def counted(corpus: Corpus, vocabulary: int, *, threads: int, memory: int, work: Path | None, window: int = 5) -> Any:
    with Cooccurrences(corpus, vocabulary, window=window, threads=threads, memory=memory, work=work) as counts:
        with open_progress("quiet").task("count", total=len(corpus), unit="words") as task:
            counts.count(task)
        spilled = sum(isinstance(run, np.memmap) for runs in counts.runs for run in runs)
        pairs = np.concatenate(list(counts.pairs()))
        assert len(pairs) <= counts.most
    return np.sort(pairs, order=["row", "column"]), spilled


@pytest.fixture(scope="module")
def scattered() -> tuple[Any, Corpus]:
    """Words with long tails, in documents of all lengths."""
    random = np.random.default_rng(2)
    sentences = [[f"w{int(300 * u**3)}" for u in random.random(n)] for n in random.integers(0, 90, 150)]
    return read_sentences(sentences, min_count=1)


@pytest.mark.parametrize("memory", [1 << 30, 60_000, 4_000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_pairs_are_counted_as_by_brute_force(scattered: Any, threads: int, memory: int, tmp_path: Path) -> None:
    vocabulary, corpus = scattered
    pairs, _ = counted(corpus, len(vocabulary), threads=threads, memory=memory, work=tmp_path)
    expected = brute_force(corpus, 5)
    assert {(int(p["row"]), int(p["column"])) for p in pairs} == set(expected)
    assert len(pairs) == len(expected), "each pair once"
    np.testing.assert_allclose(pairs["count"], [expected[p["row"], p["column"]] for p in pairs], rtol=1e-6)


def test_the_way_over_the_disk_gives_the_same_bytes(scattered: Any, tmp_path: Path, monkeypatch: Any) -> None:
    vocabulary, corpus = scattered
    whole, spilled = counted(corpus, len(vocabulary), threads=1, memory=1 << 30, work=tmp_path)
    assert spilled == 0
    monkeypatch.setattr(cooccurrence, "_BLOCK", 500)
    for threads in (1, 2):
        parts, spilled = counted(corpus, len(vocabulary), threads=threads, memory=4_000, work=tmp_path)
        assert spilled > 1
        assert parts.tobytes() == whole.tobytes()
    assert not list(tmp_path.iterdir()), "its files are gone"


def test_without_a_folder_too_little_memory_is_an_error(scattered: Any, monkeypatch: Any) -> None:
    vocabulary, corpus = scattered
    with pytest.raises(InputError, match=r"more memory than allowed.*give 'work'"):
        counted(corpus, len(vocabulary), threads=1, memory=4_000, work=None)
    with pytest.raises(InputError, match="more memory than allowed"):
        train_glove(vocabulary, corpus, parameters=dataclasses.replace(SMALL, memory=100_000))


@pytest.mark.parametrize("cells", [0, 1, 7, 40, 55, 1000])
def test_the_dense_block_holds_pairs_of_small_rank_product(cells: int) -> None:
    start, limit, size = dense_rows(10, cells)
    dense = {(a, b) for a in range(10) for b in range(a, limit[a])}
    assert len(dense) == size <= cells
    assert sorted(start[a] + b for a, b in dense) == list(range(size))
    outside = [(a + 1) * (b + 1) for a in range(10) for b in range(a, 10) if (a, b) not in dense]
    assert not dense or not outside or max((a + 1) * (b + 1) for a, b in dense) < min(outside)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_kernel_computes_what_plain_numpy_does(swapped: bool) -> None:
    random, width, half = np.random.default_rng(0), 10, 16
    records = np.zeros(60, RECORD)
    records["row"], records["column"] = random.integers(0, 7, 60), random.integers(0, 7, 60)
    records["log"], records["weight"] = random.normal(0, 2, 60), random.random(60)
    words, contexts = (np.zeros((7, 2 * half), np.float32) for _ in range(2))
    for matrix in (words, contexts):
        matrix[:, : width + 2], matrix[:, half:] = random.normal(0, 0.5, (7, width + 2)), 1
    words[:, width + 1] = contexts[:, width] = 1
    w, c = words[:, :width].astype(float), contexts[:, :width].astype(float)
    wb, cb = words[:, width].astype(float), contexts[:, width + 1].astype(float)
    w2, c2, wb2, cb2 = np.ones_like(w), np.ones_like(c), np.ones(7), np.ones(7)
    loss = pairs = 0.0
    for record in records.tolist():
        i, j, log, weight = record if not swapped else (record[1], record[0], *record[2:])
        if swapped and i == j:
            continue
        error = w[i] @ c[j] + wb[i] + cb[j] - log
        loss, pairs = loss + 0.5 * weight * error**2, pairs + 1
        slope = weight * error
        steps = [0.05 * slope * c[j], 0.05 * slope * w[i], slope, slope]
        for value, squares, at, step in zip((w, c, wb, cb), (w2, c2, wb2, cb2), (i, j, i, j), steps, strict=True):
            value[at] -= step / np.sqrt(squares[at])
            squares[at] += step**2
    tally = np.zeros(2)
    learn_records(records, 0, 60, swapped, np.float32(0.05), width, words, contexts, tally)
    assert tally[1] == pairs
    assert tally[0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(words[:, :width], w, atol=1e-5)
    np.testing.assert_allclose(contexts[:, :width], c, atol=1e-5)
    np.testing.assert_allclose(words[:, width], wb, atol=1e-5)
    np.testing.assert_allclose(contexts[:, width + 1], cb, atol=1e-5)
    np.testing.assert_allclose(words[:, half : half + width], w2, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_seed_and_threads_give_the_same_bytes(planted: Any, threads: int) -> None:
    parameters = dataclasses.replace(SMALL, threads=threads)
    first, second = (train_glove(*planted, parameters=parameters) for _ in range(2))
    assert first.vectors.vectors.tobytes() == second.vectors.vectors.tobytes()
    assert first.losses == second.losses
    other = train_glove(*planted, parameters=dataclasses.replace(parameters, seed=9))
    assert other.vectors.vectors.tobytes() != first.vectors.vectors.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_it_finds_what_was_planted(planted: Any, questions: Any, threads: int) -> None:
    trained = train_glove(
        *planted, parameters=dataclasses.replace(SMALL, epochs=60, window=8, x_max=300, threads=threads)
    )
    assert list(trained.losses) == sorted(trained.losses, reverse=True)
    right = [trained.vectors.analogy(a, b, c)[0][0] == d for a, b, c, d in questions]
    assert np.mean(right) > 0.8


def test_records_in_files_are_learned_from_as_those_in_memory(planted: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(glove_module, "_BUCKET", 5_000)
    sizes = []
    monkeypatch.setattr(glove_module._Buckets, "_ordered", _noting(sizes, glove_module._Buckets._ordered))
    parameters = dataclasses.replace(SMALL, threads=2, memory=1 << 19)
    trained = train_glove(*planted, parameters=parameters, work=tmp_path)
    whole = train_glove(*planted, parameters=dataclasses.replace(parameters, memory=1 << 30))
    assert len(sizes) > 3
    assert trained.losses == pytest.approx(whole.losses, rel=0.05)
    assert not list(tmp_path.iterdir())


def _noting(sizes: list[int], method: Any) -> Any:
    def noting(self: Any, records: Any) -> Any:
        sizes.append(len(records))
        return method(self, records)

    return noting


def test_what_cannot_be_learned_from_says_so(planted: Any) -> None:
    with pytest.raises(InputError, match="no word has a neighbour"):
        train_glove(*read_sentences([["a"], ["b"], []], min_count=1))
    with pytest.raises(StageError, match=r"glove, epoch 1.*lower learning_rate"):
        train_glove(*planted, parameters=dataclasses.replace(SMALL, learning_rate=1e30))
    with pytest.raises(ConfigError, match=r"glove\.x_max"):
        GloveParameters(x_max=0)
    assert PAIR.itemsize == 12
