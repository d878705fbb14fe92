"""A verdict says "helped" where augmentation must help, "hurt" where it must hurt, and nothing within the noise."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.augment.plan import Operation, plan_augment
from lamina.data.augment.samples import sample
from lamina.data.augment.trials import Side, children_of
from lamina.data.augment.verdict import TOGETHER, Verdict, _best, interval, judge, judge_corpus
from lamina.kit.errors import InputError

TOPICS = {
    "sea": ["harbour", "lantern", "sailor", "anchor", "current", "lighthouse", "fisherman", "captain", "seagull"],
    "farm": ["orchard", "tractor", "meadow", "harvest", "stable", "chicken", "farmer", "haystack", "pasture"],
    "town": ["station", "council", "market", "bridge", "teacher", "factory", "theatre", "library", "tramway"],
}
FILLER = [
    "and",
    "the",
    "of",
    "with",
    "under",
    "near",
    "slowly",
    "again",
    "our",
    "old",
    "have",
    "seen",
    "over",
    "before",
]


def side(count: int, seed: int, *, words: int = 4, labels: Sequence[str] = tuple(TOPICS)) -> Side:
    """Documents with a few telling words of their topic among others."""
    draw = random.Random(seed)
    names, texts = [], []
    for _ in range(count):
        name = draw.choice(list(labels))
        text = draw.choices(FILLER, k=20) + draw.sample(TOPICS[name], words)
        draw.shuffle(text)
        names.append(name)
        texts.append(" ".join(text).capitalize() + ".")
    rows = [
        {"id": f"{seed * 10_000 + n:032x}", "text": text, "source": "s", "language": "en"}
        for n, text in enumerate(texts)
    ]
    return Side(rows=rows, texts=texts, labels=names, groups=[row["id"] for row in rows])


def found(verdict: Verdict, label: str) -> dict[str, str]:
    (trial,) = [t for t in verdict.trials if t.label == label]
    return {f.condition: f.words for f in trial.findings}


def signs(count: int, seed: int) -> Side:
    """Documents in which one word of two tells the label: misspelt, it tells nothing to who never saw it so."""
    draw = random.Random(seed)
    names = [draw.choice(["sea", "farm"]) for _ in range(count)]
    texts = []
    for name in names:
        words = [*draw.choices(FILLER, k=4), draw.choice(TOPICS[name][:2])]
        draw.shuffle(words)
        texts.append(" ".join(words))
    rows = [
        {"id": f"{seed * 10_000 + n:032x}", "text": t, "source": "s", "language": "en"} for n, t in enumerate(texts)
    ]
    return Side(rows=rows, texts=texts, labels=names, groups=list(range(count)))


def test_noise_helps_a_classifier_under_typos_it_has_not_seen() -> None:
    operations = plan_augment([{"use": "noise", "kinds": ["spelling"], "rate": 0.7, "copies": 12}])
    verdict = judge(signs(120, 1), signs(500, 2), operations, label="topic", seeds=3, max_share=0.9)
    assert verdict.metric == "accuracy"
    assert found(verdict, "noise")["typos"] == "helped", str(verdict)
    assert verdict.best["typos"] == "noise"
    assert found(verdict, "noise")["clean"] != "hurt"
    assert verdict.trials[0].children > 500
    assert "noise helped on" in str(verdict)
    (one,) = verdict.json()["trials"]
    assert one["findings"][1]["better"][1] > 0


def test_swapping_hurts_where_the_order_of_words_is_what_counts() -> None:
    def ordered(count: int, seed: int) -> Side:
        draw = random.Random(seed)
        names = [draw.choice(["first", "second"]) for _ in range(count)]
        texts = []
        for name in names:
            pair = "tiger lion" if name == "first" else "lion tiger"
            texts.append(" ".join([*draw.choices(FILLER, k=3), pair, *draw.choices(FILLER, k=3)]))
        rows = [
            {"id": f"{seed * 10_000 + n:032x}", "text": t, "source": "s", "language": "en"} for n, t in enumerate(texts)
        ]
        return Side(rows=rows, texts=texts, labels=names, groups=list(range(count)))

    operations = plan_augment([{"use": "swap", "alpha": 0.9, "copies": 8}, {"use": "noise", "kinds": ["punctuation"]}])
    verdict = judge(ordered(80, 1), ordered(200, 2), operations, label="order", seeds=3, max_share=0.85)
    assert found(verdict, "swap")["clean"] == "hurt"
    assert "swap" not in verdict.best.values()
    assert verdict.trials[-1].label == TOGETHER


def test_where_labels_are_drawn_by_lot_nothing_wins() -> None:
    draw = random.Random(9)

    def lots(count: int, seed: int) -> Side:
        made = side(count, seed)
        return Side(
            rows=made.rows, texts=made.texts, labels=[draw.choice("abc") for _ in made.texts], groups=made.groups
        )

    operations = plan_augment([{"use": "swap", "copies": 2}, {"use": "deletion"}, {"use": "noise"}])
    verdict = judge(lots(80, 1), lots(200, 2), operations, label="lot", seeds=4)
    assert set(verdict.best.values()) == {None}
    words = [f.words for t in verdict.trials for f in t.findings]
    assert words.count("no clear difference") >= len(words) - 1
    assert "nothing stands out of the noise" in str(verdict)


def prose(folder: Callable[[str], Path], count: int) -> Iterator[str]:
    (file,) = folder("wiki").rglob("summaries_en-us.json")

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        else:
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)

    texts = (t for t in strings(json.loads(file.read_text())) if len(t) > 200)
    yield from (text for _, text in zip(range(count), texts, strict=False))


@pytest.mark.material
def test_on_real_prose_noise_helps_under_typos_and_none_helps_on_clean_text(material: Callable[[str], Path]) -> None:
    """Without labels: a byte model. Children of clean prose hold nothing of clean prose that their parents lack."""
    texts = list(prose(material, 400))
    rows = [{"id": f"{n:032x}", "text": text, "source": "wiki", "language": "en"} for n, text in enumerate(texts)]
    sides = [
        Side(rows=part, texts=[r["text"] for r in part], labels=(), groups=[r["id"] for r in part])
        for part in (rows[:300], rows[300:])
    ]
    verdict = judge(*sides, plan_augment([{"use": "swap"}, {"use": "noise"}]), seeds=4)
    assert verdict.metric == "bits per byte"
    assert found(verdict, "noise")["typos"] == "helped"
    assert verdict.best["typos"] == "noise"
    assert "helped" not in (found(verdict, "swap")["clean"], found(verdict, "noise")["clean"])


def test_children_are_those_that_the_corpus_would_have() -> None:
    train = side(50, 1)
    operations = plan_augment([{"use": "swap", "copies": 3}])
    from lamina.data.augment.similar import HeldOut

    texts = {n: [t for t, _ in children_of(train, operations, seed=s, max_share=0.3, held_out=HeldOut.of([]))]
             for n, s in (("a", 1), ("b", 1), ("c", 2))}  # fmt: skip
    assert texts["a"] == texts["b"] != texts["c"]
    size = sum(len(t) for t in train.texts)
    assert 0.38 * size < sum(len(t) for t in texts["a"]) <= 0.3 / 0.7 * size
    none = children_of(train, operations, seed=1, max_share=0.3, held_out=HeldOut.of(train.texts))
    assert none == []


def test_seeds_that_disagree_make_the_interval_wider() -> None:
    generator = np.random.default_rng(1)
    items = generator.normal(0.2, 0.5, size=200)
    agree = np.stack([items] * 4)
    disagree = agree + np.array([-0.3, 0.3, -0.2, 0.2])[:, None]
    narrow, wide = interval(agree, range(200)), interval(disagree, range(200))
    assert narrow.low > 0 > wide.low
    assert wide.mean == pytest.approx(narrow.mean)
    assert interval(agree, range(200), 0.99).low < narrow.low


def test_a_winner_must_beat_the_second_beyond_the_noise() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 0.05, size=(3, 4, 150))
    groups = list(range(150))
    clear = {"a": 0.5 + noise[0], "b": 0.2 + noise[1], "c": noise[2]}
    assert _best(clear, groups) == "a"
    assert _best({**clear, "b": 0.5 + noise[1]}, groups) is None
    assert _best({"a": noise[0] - noise[0].mean()}, groups) is None


@pytest.mark.parametrize(
    ("train", "held_out", "more", "said"),
    [
        (1, 20, {}, "needs at least 2 and 5"),
        (20, 4, {}, "raise data.held_out"),
        (20, 20, {"seeds": 1}, "1 seeds"),
        (20, 20, {"label": "topic", "labels": ["sea"]}, "same 'topic'"),
    ],
)
def test_what_says_nothing_is_refused(train: int, held_out: int, more: dict[str, Any], said: str) -> None:
    labels = more.pop("labels", tuple(TOPICS))
    with pytest.raises(InputError, match=said):
        judge(side(train, 1, labels=labels), side(held_out, 2), plan_augment([{"use": "swap"}]), **more)


def test_nothing_to_judge_is_refused() -> None:
    with pytest.raises(InputError, match="no operation"):
        judge(side(20, 1), side(20, 2), ())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for number, (name, split, count) in enumerate((("train", "train", 60), ("held_out", "held-out", 30))):
        made = side(count, number + 1)
        rows = [
            {**row, "split": split, "meta": json.dumps({"topic": label, "augmented": {}})}
            for row, label in zip(made.rows, made.labels, strict=True)
        ]
        if split == "train":
            rows += [{**rows[0], "id": "f" * 32, "parent_id": rows[0]["id"], "text": "a child"}]
        pq.write_table(
            pa.Table.from_pylist(rows, schema=DOCUMENTS), tmp_path / "data" / f"{name}-00000-of-00001.parquet"
        )
    return tmp_path


def swap() -> tuple[Operation, ...]:
    return plan_augment([{"use": "swap"}])


def test_a_corpus_is_judged_without_the_children_that_it_has(corpus: Path) -> None:
    verdict = judge_corpus(corpus, swap(), label="topic", seeds=2)
    assert (verdict.documents, verdict.held_out, verdict.seeds) == (60, 30, 2)
    assert judge_corpus(corpus, swap(), seeds=2).documents == 54  # the language model is fitted on the others


def test_a_label_that_no_document_has_names_those_that_they_have(corpus: Path) -> None:
    with pytest.raises(InputError, match="known keys: topic"):
        judge_corpus(corpus, swap(), label="topics")
    with pytest.raises(InputError, match="no corpus"):
        judge_corpus(corpus / "data", swap())


def test_kinds_of_text_that_change_nothing_are_left_out(corpus: Path) -> None:
    train, held_out = side(20, 1), side(20, 2)
    german = Side(
        rows=[{**row, "language": "de"} for row in held_out.rows],
        texts=["Der Hafen liegt im Norden der Stadt."] * 20,
        labels=held_out.labels,
        groups=held_out.groups,
    )
    verdict = judge(train, german, swap(), seeds=2)
    assert "paraphrase" not in verdict.best
    assert any("paraphrase, which changes only 0 of these texts (de)" in note for note in verdict.notes)
    said = judge(train, german, swap(), seeds=2, paraphrase=lambda texts: [f"Nun: {t}" for t in texts])
    assert "paraphrase" in said.best


def test_samples_are_the_same_at_every_call_and_bounded(tmp_path: Path) -> None:
    rows = [
        {"id": f"{n * 7919 % 1000:032x}", "text": f"text number {n} " * 5, "source": "s", "meta": None}
        for n in range(1000)
    ]
    for part in range(2):
        table = pa.Table.from_pylist(rows[part::2], schema=DOCUMENTS)
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=100)
    files = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    some = sample(files, characters=10**9, documents=20)
    assert [row["id"] for row in some] == [f"{n:032x}" for n in range(20)]
    assert sample(files[::-1], characters=10**9, documents=20) == some
    sized = sample(files, characters=2000)
    assert 2000 <= sum(len(row["text"]) for row in sized) < 2100
    assert len(sample(files, characters=2000, longest=10)) == 200
    assert len(sample(files, characters=10**9)) == 1000
    few = sample(files, characters=10**9, fits=lambda row: row["id"].endswith("7"))
    assert {row["id"][-1] for row in few} == {"7"}
    assert len(few) == sum(n % 16 == 7 for n in range(1000))
