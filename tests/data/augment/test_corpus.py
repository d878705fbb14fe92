"""From documents to a corpus with children: splits, budget, units, kills; nothing leaks from what is held out."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.contracts.corpus import DOCUMENTS, SourceFile
from lamina.data import corpus_files, executors, units
from lamina.data.augment.apply import PARENT_CLOSE
from lamina.data.augment.corpus import Augmentation, augment_corpus, languages_of
from lamina.data.explain import explain
from lamina.data.explain_words import describe as explain_in_words
from lamina.data.parts import PartWriter
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.report import describe
from lamina.data.report_page import report_page
from lamina.kit.errors import ConfigError
from lamina.kit.progress import open_progress
from lamina.kit.workers import resolve

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def prose(number: int, count: int = 60) -> str:
    draw = random.Random(number)
    words = [draw.choice(WORDS) for _ in range(count)]
    return " ".join(w.capitalize() + "," if n % 12 == 0 else w for n, w in enumerate(words)) + "."


TABLES: list[dict[str, Any]] = [{"use": "swap", "alpha": 0.2}, {"use": "noise", "copies": 2}]


def build(folder: Path, texts: Sequence[str], *, name: str = "out", workers: int = 1, **more: Any) -> Path:
    file = folder / "texts.jsonl"
    if not file.exists():
        file.write_text("".join(json.dumps({"text": text, "language": "en"}) + "\n" for text in texts))
    out = folder / name
    out.mkdir()
    source = SourceInput(name="texts", use="files", files=(SourceFile(name="texts.jsonl", path=file),), license="MIT")
    settings = {"tables": TABLES, "max_share": 0.4, "seed": 3, **more.pop("augmentation", {})}
    build_corpus(
        out,
        folder / f"work-{name if more.pop('apart', True) else 'shared'}",
        sources=[source],
        steps=more.pop("steps", ()),
        held_out=0.2,
        progress=open_progress("quiet"),
        workers=workers,
        augmentation=Augmentation(**settings),
    )
    return out


def rows(corpus: Path, split: str = "*") -> list[dict[str, Any]]:
    return [r for f in sorted((corpus / "data").glob(f"{split}-*.parquet")) for r in pq.read_table(f).to_pylist()]


def pairs(corpus: Path) -> list[tuple[str, str]]:
    return sorted((row["id"], row["text"]) for row in rows(corpus))


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_files, "PartWriter", partial(PartWriter, group=10))
    monkeypatch.setattr(units, "LEAST", 10)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("corpus"), [prose(n) for n in range(80)])


def test_children_stand_in_the_training_split_with_all_that_they_carry(corpus: Path) -> None:
    originals = {r["id"]: r for r in rows(corpus) if r["parent_id"] is None}
    children = [r for r in rows(corpus) if r["parent_id"] is not None]
    assert len(originals) == 80
    assert children
    assert {c["split"] for c in children} == {"train"}
    assert not [r for r in rows(corpus, "held_out") if r["parent_id"]]
    for child in children:
        parent = originals[child["parent_id"]]
        assert parent["split"] == "train"
        assert (child["license"], child["language"], child["source"]) == ("MIT", "en", "texts")
        told = json.loads(child["meta"])["augmented"]
        assert told["seed"] == 3
        assert told["operation"] in ("swap", "noise")
    names = sorted(p.name for p in (corpus / "data").iterdir())
    assert names == ["held_out-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]


def test_the_budget_is_over_the_whole(corpus: Path) -> None:
    train = rows(corpus, "train")
    sizes = {kind: sum(len(r["text"]) for r in train if bool(r["parent_id"]) == kind) for kind in (True, False)}
    assert 0.36 < sizes[True] / sum(sizes.values()) <= 0.4


def test_the_report_says_what_was_done(corpus: Path) -> None:
    report = json.loads((corpus / "report.json").read_bytes())
    told = report["augmentation"]
    children = [r for r in rows(corpus) if r["parent_id"]]
    assert told["children"] == len(children)
    assert told["children_characters"] == sum(len(c["text"]) for c in children)
    assert told["children_characters"] <= told["budget"]
    assert sum(o["kept"] for o in told["operations"]) == len(children)
    assert report["documents"] == 80
    words = describe(report, corpus)
    assert f"augmentation: {len(children)} children of {report['train']} training documents (swap " in words
    page = report_page(corpus)
    assert "<h2>Augmentation</h2>" in page
    assert page.count("→") >= 2


def test_a_document_is_explained_with_its_descendants(corpus: Path) -> None:
    child = next(r for r in rows(corpus) if r["parent_id"])
    parent = explain(corpus, child["parent_id"])
    assert child["id"] in parent.children
    assert "augmented into" in explain_in_words(parent)
    found = explain(corpus, child["id"])
    assert found.facts["parent_id"] == child["parent_id"]
    assert [(e["step"], e["action"]) for e in found.ledger] == [
        (f"augment {json.loads(child['meta'])['augmented']['operation']}", "augment")
    ]


def test_without_tables_nothing_is_added(tmp_path: Path) -> None:
    out = build(tmp_path, [prose(n) for n in range(12)], augmentation={"tables": ()})
    assert not [r for r in rows(out) if r["parent_id"]]
    assert "augmentation" not in json.loads((out / "report.json").read_bytes())


@pytest.mark.usefixtures("small_units")
def test_any_number_of_workers_gives_the_same_children(tmp_path: Path) -> None:
    texts = [prose(n) for n in range(60)]
    found = [
        sorted((r["id"], r["text"]) for r in rows(build(tmp_path, texts, name=f"w{n}", workers=n))) for n in (1, 3)
    ]
    assert found[0] == found[1]
    other = build(tmp_path, texts, name="seed", augmentation={"seed": 4})
    assert sorted((r["id"], r["text"]) for r in rows(other)) != found[0]


@pytest.mark.usefixtures("small_units")
def test_a_killed_run_goes_on_with_the_units_that_are_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [prose(n) for n in range(60)]
    whole = build(tmp_path, texts, name="whole")
    done: list[str] = []
    limit = [2]

    def killed(self: Any, function: str, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        for payload in payloads:
            if function.endswith(":augment_unit"):
                if len(done) == limit[0]:
                    raise KeyboardInterrupt
                done.append(Path(payload["folder"]).name)
            yield resolve(function)(dict(payload))

    monkeypatch.setattr(executors.Local, "map", killed)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, texts, name="killed", apart=False)
    limit[0] = 1000
    again = build(tmp_path, texts, name="again", apart=False)
    assert len(done) == len(set(done)) > 4
    assert pairs(again) == pairs(whole)


@pytest.mark.parametrize(
    ("augmentation", "said"),
    [
        ({"tables": [{"use": "swap", "alpha": 2.0}]}, "alpha is 2"),
        ({"max_share": 1.0}, r"data\.augmentation: max_share"),
        ({"tables": [{"use": "synonyms", "thesaurus": "nowhere"}]}, "no file or folder 'nowhere'"),
    ],
)
def test_mistakes_cost_no_work(tmp_path: Path, augmentation: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(tmp_path, [prose(1)], augmentation=augmentation)
    assert not (tmp_path / "work-out").exists()


def grams(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = "".join(c.lower() if c.isalnum() or c == " " else " " for c in text).split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def jaccard(a: str, b: str) -> float:
    one, two = grams(a), grams(b)
    return len(one & two) / len(one | two) if one | two else 0.0


def changed(text: str, seed: int, edits: int) -> str:
    draw, words = random.Random(seed), text.split()
    for _ in range(edits):
        words[draw.randrange(len(words))] = draw.choice(WORDS)
    return " ".join(words)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    originals=st.lists(st.integers(0, 50), min_size=2, max_size=6, unique=True),
    copies=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans()), max_size=8),
    alpha=st.sampled_from([0.05, 0.2, 0.6]),
)
def test_nothing_of_a_held_out_document_or_its_near_duplicate_has_children(
    tmp_path_factory: pytest.TempPathFactory, originals: list[int], copies: list[tuple[int, int, bool]], alpha: float
) -> None:
    folder = tmp_path_factory.mktemp("leak")
    documents = [(prose(n), i % 2 == 0) for i, n in enumerate(originals)]  # text, whether it is held out
    for which, edits, held in copies:
        documents.append((changed(documents[which % len(originals)][0], len(documents), edits), held))
    table = [
        {"id": f"{n:032x}", "text": text, "source": "s", "language": "en", "split": "held-out" if held else "train"}
        for n, (text, held) in enumerate(documents)
    ]
    files = {}
    for split in ("train", "held-out"):
        files[split] = folder / f"{split}.parquet"
        part = [row for row in table if row["split"] == split]
        pq.write_table(pa.Table.from_pylist(part, schema=DOCUMENTS), files[split])
    augmentation = Augmentation(tables=[{"use": "swap", "alpha": alpha, "copies": 2}, {"use": "deletion"}])
    done = augment_corpus(
        [files["train"]],
        [files["held-out"]],
        folder / "work",
        here,
        documents=pl.DataFrame(table).with_columns(characters=pl.col("text").str.len_chars().cast(pl.Int64)),
        augmentation=Augmentation(tables=augmentation.tables, max_share=0.9),
        operations=augmentation.operations(),
    )
    held_out = [row["text"] for row in table if row["split"] == "held-out"]
    parents = {row["id"]: row for row in table}
    children = pq.read_table(done / "children.parquet").to_pylist()
    for child in children:
        parent = parents[child["parent_id"]]
        assert parent["split"] == child["split"] == "train"
        assert max((jaccard(parent["text"], text) for text in held_out), default=0.0) < 0.8
        assert max((jaccard(child["text"], text) for text in held_out), default=0.0) < 0.8
    clear = [r for r in table if r["split"] == "train" and max(jaccard(r["text"], t) for t in held_out) < 0.1]
    assert {r["id"] for r in clear} <= {c["parent_id"] for c in children}  # and nobody else goes without


def here(function: str, payloads: Sequence[Mapping[str, Any]], name: str) -> list[Path]:
    for payload in payloads:
        resolve(function)(dict(payload))
    return [Path(payload["folder"]) for payload in payloads]


def test_near_duplicates_across_the_split_are_told_of(tmp_path: Path) -> None:
    texts = [prose(n) for n in range(20)]
    out = build(tmp_path, [*texts, *(changed(t, 1, 1) for t in texts)])  # no step drops them, so some fall apart
    told = json.loads((out / "report.json").read_bytes())["augmentation"]
    assert any(o["refused"].get(PARENT_CLOSE) for o in told["operations"])
    held_out = [r["text"] for r in rows(out, "held_out")]
    parents = {r["parent_id"] for r in rows(out) if r["parent_id"]}
    for row in rows(out, "train"):
        if row["id"] in parents:
            assert max(jaccard(row["text"], text) for text in held_out) < 0.5


def test_languages_are_those_of_the_training_documents() -> None:
    table = pl.DataFrame(
        {
            "language": ["en-GB", "en", "fr", "fr", "fr", None, "es"],
            "split": ["train", "train", "held-out", "train", "held-out", "train", "held-out"],
        }
    )
    assert languages_of(table) == ["en", "fr"]
