from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamina.contracts.tokens import Batch
from lamina.data.batches import PackedBatches, Part
from lamina.data.mixture import Group, Mixture, Rule, plan_mixture
from lamina.data.mixture_groups import groups_of, known_groups
from lamina.data.shards import Shards, ShardWriter
from lamina.kit.errors import ConfigError, InputError

SIZES = st.lists(st.integers(1, 10**7), min_size=1, max_size=8)
LENGTH = 64


class Numbers:
    """Stands for a tokenizer; nothing is encoded here."""

    vocabulary = 60_000
    end_ids = (0,)

    def encode(self, text: str) -> list[int]:
        return [1]


def names(sizes: list[int]) -> list[Group]:
    return [Group(name=f"g{i}", documents=np.array([i])) for i in range(len(sizes))]


def mixed(sizes: list[int], rule: Rule, run: float | None = None) -> dict[str, Any]:
    rows = [-(-s // 100) for s in sizes]
    found = plan_mixture(names(sizes), sizes, rows, rule, run=run)
    return {p.name: p for p in found.portions}


@settings(max_examples=150, deadline=None)
@given(SIZES, st.floats(1, 20), st.floats(0.05, 1))
@example([1], 1.0, 1 - 1e-16).via("a cap that is 1 but for rounding")
@example([5, 9, 1], 2.0, (1 - 1e-13) / 3).via("caps that come to 1 but for rounding")
def test_shares_flatten_with_temperature_and_keep_their_order(sizes: list[int], hot: float, cap: float) -> None:
    total = sum(sizes)
    natural = mixed(sizes, Rule())
    warm = mixed(sizes, Rule(temperature=hot))
    even = mixed(sizes, Rule(temperature="uniform"))
    powers = [s ** (1 / hot) for s in sizes]
    for i, size in enumerate(sizes):
        assert natural[f"g{i}"].share == pytest.approx(size / total)
        assert natural[f"g{i}"].natural == pytest.approx(size / total)
        assert warm[f"g{i}"].share == pytest.approx(powers[i] / sum(powers))
        assert even[f"g{i}"].share == pytest.approx(1 / len(sizes))
    if cap * len(sizes) < 1 - 1e-12:  # less than rounding makes of it
        with pytest.raises(ConfigError, match="less than the 1 that falls to them"):
            mixed(sizes, Rule(cap=cap))
        return
    capped = mixed(sizes, Rule(cap=cap))
    assert sum(p.share for p in capped.values()) == pytest.approx(1)
    assert max(p.share for p in capped.values()) <= cap + 1e-9
    for a, b in ((a, b) for a in natural.values() for b in natural.values()):
        if a.share <= b.share:
            assert capped[a.name].share <= capped[b.name].share + 1e-9


@settings(max_examples=150, deadline=None)
@given(SIZES, st.floats(0.2, 6), st.integers(1, 10**6), st.sampled_from([1.0, 3.0, "uniform"]))
def test_no_group_is_repeated_more_often_than_may_be(sizes: list[int], most: float, run: int, hot: Any) -> None:
    rows = sum(-(-s // 100) for s in sizes)
    found = mixed(sizes, Rule(temperature=hot, max_epochs=most), run=run)
    assert sum(p.share for p in found.values()) == pytest.approx(1)
    epochs = [p.epochs for p in found.values()]
    if run < 0.99 * most * rows:
        assert max(epochs) <= most * (1 + 1e-6)
    assert sum(p.rows for p in found.values()) == pytest.approx(1)
    assert sum(p.epochs * -(-p.tokens // 100) for p in found.values()) == pytest.approx(run)


def test_a_run_longer_than_the_text_repeats_all_alike_and_says_so() -> None:
    groups = names([1000, 3000])
    found = plan_mixture(groups, [1000, 3000], [10, 30], Rule(temperature="uniform", max_epochs=4), run=280)
    assert [p.epochs for p in found.portions] == pytest.approx([7, 7], rel=1e-6)
    assert found.notes == ("the run is longer than 4 epochs of what may be taken: up to 7 epochs instead",)
    assert "note: the run is longer" in found.in_words()


def test_weights_by_hand() -> None:
    sizes = [8000, 1000, 1000]
    found = mixed(sizes, Rule(weights={"g1": 0.5}))
    assert [found[f"g{i}"].share for i in range(3)] == pytest.approx([0.5 * 8 / 9, 0.5, 0.5 / 9])
    found = mixed(sizes, Rule(weights={"g0": 3, "g1": 1, "g2": 0}))  # of all groups: in proportion
    assert [found[f"g{i}"].share for i in range(3)] == pytest.approx([0.75, 0.25, 0])
    found = mixed(sizes, Rule(weights={"g1": 0.6}, cap=0.3))  # by hand goes over the cap
    assert [found[f"g{i}"].share for i in range(3)] == pytest.approx([0.3, 0.6, 0.1])
    found = mixed(sizes, Rule(weights={"g1": 0.9}, max_epochs=2), run=80)  # but not over the epochs
    assert found["g1"].epochs == pytest.approx(2)
    with pytest.raises(ConfigError, match=r"add up to 1\.2 and leave nothing for g2"):
        mixed(sizes, Rule(weights={"g0": 0.6, "g1": 0.6}))
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        mixed(sizes, Rule(weights={"g0": 0, "g1": 0, "g2": 0}))


def test_what_cannot_be_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"no source 'g11'.*did you mean 'g1'\? known: g0, g1"):
        mixed([5, 5], Rule(weights={"g11": 0.5}))
    for wrong in ({"temperature": 0.5}, {"cap": 0}, {"cap": 1.5}, {"max_epochs": 0}, {"weights": {"a": -1}}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Rule(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nothing to mix"):
        plan_mixture(names([0, 0]), [0, 0], [0, 0], Rule())


def test_a_group_without_tokens_has_no_share() -> None:
    found = plan_mixture(names([100, 0]), [100, 0], [1, 0], Rule(temperature="uniform"), run=3)
    assert [(p.share, p.epochs) for p in found.portions] == [(1.0, 3.0), (0.0, None)]


# -- in the batches ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shards]:
    """A corpus of three sources, of long, middling and short documents, and its shards."""
    folder = tmp_path_factory.mktemp("mixture")
    random = np.random.default_rng(0)
    kinds = {"books": (12, 900), "leads": (300, 50), "chats": (3000, 30)}
    rows = [(f"{s}{n}", s) for s, (count, _) in kinds.items() for n in range(count)]
    order = random.permutation(len(rows))
    with ShardWriter(folder / "tokens", Numbers()) as writer:  # type: ignore[arg-type]
        for place in order.tolist():
            id, source = rows[place]
            size = int(random.integers(2, 2 * kinds[source][1]))
            first = {"books": 1, "leads": 20_000, "chats": 40_000}[source]
            ids = random.integers(first, first + 10_000, size).tolist()
            writer.add([0, *ids], [False, *[True] * size], id=id, source=source)
        shards = writer.close()
    data = folder / "corpus" / "data"
    data.mkdir(parents=True)
    languages = {"books": "en", "leads": "fr", "chats": None}
    table = {"id": [id for id, _ in rows], "language": [languages[s] for _, s in rows]}
    pq.write_table(pa.table(table), data / "train-00000-of-00001.parquet")
    clusters = pa.table({"id": table["id"], "cluster": pa.array([n % 2 for n in range(len(rows))], pa.int16())})
    pq.write_table(clusters, folder / "corpus" / "clusters.parquet")
    topics = [{"name": "whale, sea, ship"}, {"name": "city, river, north"}]
    (folder / "corpus" / "variety.json").write_bytes(orjson.dumps({"topics": topics}))
    report = {"sources": dict.fromkeys(kinds), "languages": {"en": 1, "fr": 2}}
    (folder / "corpus" / "report.json").write_bytes(orjson.dumps(report))
    return folder / "corpus", shards


def stream_of(made: tuple[Path, Shards], rule: Rule, run: float, seed: int = 3) -> tuple[PackedBatches, Mixture]:
    corpus, shards = made
    groups = groups_of(shards, corpus, rule.by)
    parts = [Part(shards=shards, weight=1.0, documents=g.documents) for g in groups]
    stream = PackedBatches(parts, batch=4, length=LENGTH, seed=seed)
    found = plan_mixture(groups, stream.tokens_per_epoch, stream.rows_per_epoch, rule, run=run)
    share = {p.name: p.rows for p in found.portions}
    stream.weigh([share[g.name] for g in groups])
    return stream, found


def source_of(batch: Batch, learned: bool = True) -> np.ndarray:
    values = batch.targets[batch.targets > 0] if learned else batch.inputs[batch.inputs > 0]
    return np.searchsorted([20_000, 40_000], values, side="right")


@pytest.mark.parametrize(
    "rule",
    [
        Rule(),
        Rule(temperature=2.0),
        Rule(temperature="uniform"),
        Rule(temperature="uniform", max_epochs=1.5),
        Rule(weights={"books": 0.7}),
        Rule(cap=0.4),
    ],
)
def test_shares_of_a_run_are_those_of_the_plan_within_a_hundredth(made: tuple[Path, Shards], rule: Rule) -> None:
    batches = 500
    stream, found = stream_of(made, rule, run=4 * batches)
    counts = np.zeros(3, np.int64)
    for _ in range(batches):
        counts += np.bincount(source_of(next(stream)), minlength=3)
    shares = counts / counts.sum()
    planned = {p.name: p for p in found.portions}
    for name, share, epochs in zip(
        ("books", "leads", "chats"), shares, np.array(stream.epochs)[[0, 2, 1]], strict=True
    ):
        assert share == pytest.approx(planned[name].share, abs=0.01)
        assert epochs == pytest.approx(planned[name].epochs, rel=0.01, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 200), st.integers(1, 60), st.sampled_from(["source", "language", "cluster"]), st.data())
def test_restored_midway_gives_the_same_batches(
    made: tuple[Path, Shards], before: int, after: int, by: Any, data: st.DataObject
) -> None:
    rule = Rule(by=by, temperature=data.draw(st.sampled_from([1.0, 5.0, "uniform"])))
    whole, _ = stream_of(made, rule, run=1000)
    for _ in range(before):
        next(whole)
    state = json.loads(json.dumps(whole.state()))
    resumed, _ = stream_of(made, rule, run=1000)
    resumed.restore(state)
    for _ in range(after):
        a, b = next(whole), next(resumed)
        assert all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("inputs", "targets", "segments", "positions"))


def test_another_mixture_seed_or_choice_is_another_stream(made: tuple[Path, Shards]) -> None:
    state = stream_of(made, Rule(), run=100)[0].state()
    for other in (
        stream_of(made, Rule(temperature=2.0), run=100)[0],
        stream_of(made, Rule(), run=100, seed=4)[0],
        stream_of(made, Rule(by="cluster"), run=100)[0],
    ):
        with pytest.raises(InputError, match="another stream"):
            other.restore(state)
    a, b, c = (stream_of(made, Rule(), run=100, seed=s)[0] for s in (3, 3, 4))
    assert np.array_equal(next(a).inputs, next(b).inputs)
    assert not np.array_equal(next(a).inputs, next(c).inputs)


def test_an_epoch_of_the_groups_is_an_epoch_of_the_whole(made: tuple[Path, Shards]) -> None:
    corpus, shards = made
    for by in ("source", "language", "cluster"):
        groups = groups_of(shards, corpus, by)  # type: ignore[arg-type]
        numbers = np.concatenate([g.documents for g in groups])
        assert sorted(numbers.tolist()) == list(range(shards.documents))
        parts = [Part(shards=shards, weight=1.0, documents=g.documents) for g in groups]
        stream = PackedBatches(parts, batch=1, length=LENGTH, seed=0)
        assert sum(stream.tokens_per_epoch) == shards.learned_tokens


def test_a_stream_that_has_begun_keeps_its_shares(made: tuple[Path, Shards]) -> None:
    stream, _ = stream_of(made, Rule(), run=100)
    stream.weigh([1, 0, 0])
    assert set(source_of(next(stream), learned=False)) == {0}
    with pytest.raises(InputError, match="has begun"):
        stream.weigh([1, 1, 1])


def test_groups_have_names(made: tuple[Path, Shards], tmp_path: Path) -> None:
    corpus, shards = made
    assert [g.name for g in groups_of(shards, corpus, "source")] == ["books", "chats", "leads"]
    assert [g.name for g in groups_of(shards, corpus, "language")] == ["en", "fr", "unknown"]
    assert [g.name for g in groups_of(shards, corpus, "cluster")] == ["city, river, north", "whale, sea, ship"]
    assert known_groups(corpus, "source") == ["books", "leads", "chats"]
    assert known_groups(corpus, "language") == ["en", "fr"]
    assert known_groups(corpus, "cluster") == ["whale, sea, ship", "city, river, north"]
    with pytest.raises(InputError, match="were not measured"):
        known_groups(tmp_path, "cluster")


def test_the_plan_in_words(made: tuple[Path, Shards]) -> None:
    _, found = stream_of(made, Rule(temperature="uniform", cap=0.5, max_epochs=9), run=400)
    first, *lines = found.in_words().splitlines()
    assert first == "plan: mixture by source, uniform, cap 0.5, at most 9 epochs"
    assert len(lines) == 3
    assert all("33.3 % of the training" in line for line in lines)
    facts = found.portions[0].facts()
    assert (facts["name"], facts["documents"]) == ("chats", 3000)
    assert facts["natural"] > facts["share"] == 0.3333
    assert facts["epochs"] > 0
