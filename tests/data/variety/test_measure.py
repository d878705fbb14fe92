from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.variety.embedding import DocumentVectors, Embedded, HashedWords, MeanOfWords, open_vectors
from lamina.data.variety.measure import data_files, measure, read_variety, write_variety
from lamina.kit.errors import InputError

Corpus = Callable[..., Path]
Rows = Callable[..., list[dict[str, Any]]]


def rows_of(variety: dict[str, Any], facet: str) -> dict[str, tuple[int, int]]:
    return {g["name"]: (g["documents"], g["characters"]) for g in variety["shares"][facet]["groups"]}


def test_shares_add_up_and_are_written_down(corpus: Corpus, mixed: Rows) -> None:
    rows = [*mixed(), {"text": "alone", "source": "x", "created": datetime(2021, 3, 1, tzinfo=UTC)}, {"text": None}]
    folder = corpus(rows, files=3)
    found = write_variety(folder)
    assert read_variety(folder) == json.loads(json.dumps(found))
    assert found["documents"] == 122
    assert found["characters"] == sum(len(r["text"] or "") for r in rows)
    assert rows_of(found, "source")["sea"] == (40, sum(len(r["text"]) for r in rows[:40]))
    assert found["shares"]["language"]["unknown"] == {"documents": 2, "characters": 5}
    assert found["shares"]["author"]["distinct"] == 12
    assert found["shares"]["author"]["effective"]["documents"] == pytest.approx(12)
    assert found["shares"]["year"]["groups"] == [{"name": "2021", "documents": 1, "characters": 5}]
    for facet in found["shares"].values():
        for what in ("documents", "characters"):
            total = sum(g[what] for g in facet["groups"]) + facet["others"][what] + facet["unknown"][what]
            assert total == found[what]


def test_topics_are_found_named_and_kept_for_every_document(
    corpus: Corpus, mixed: Rows, themes: Mapping[str, str]
) -> None:
    folder = corpus(mixed(), files=2)
    found = write_variety(folder)
    assert len(found["topics"]) == 3
    table = pq.read_table(folder / "clusters.parquet")
    topic = dict(zip(table.column("id").to_pylist(), table.column("cluster").to_pylist(), strict=True))
    assert len(topic) == 120
    for number, theme in enumerate(themes):
        labels = {topic[f"d{i}"] for i in range(40 * number, 40 * number + 40)}
        assert len(labels) == 1
        words = found["topics"][labels.pop()]["words"]
        assert set(words) <= set(themes[theme].split())
        assert len(words) >= 3
    assert [t["documents"] for t in found["topics"]] == [40, 40, 40]
    assert found["shares"]["topic"]["effective"]["documents"] == pytest.approx(3)
    assert all(len(t["name"].split(", ")) == 3 for t in found["topics"])


def test_the_order_of_rows_and_files_changes_nothing(corpus: Corpus, mixed: Rows) -> None:
    rows = [{"id": f"d{n}"} | row for n, row in enumerate(mixed())]
    shuffled = [rows[i] for i in np.random.default_rng(5).permutation(len(rows))]
    a, b = (measure(data_files(corpus(r, name=n, files=f))).variety for r, n, f in ((rows, "a", 1), (shuffled, "b", 3)))
    assert a == b


def test_a_corpus_twice_has_the_same_shares_and_vendi(corpus: Corpus, mixed: Rows) -> None:
    rows = mixed()
    twice = [*rows, *({"id": f"again{n}"} | row for n, row in enumerate(rows))]
    once, double = (measure(data_files(corpus(r, name=n))).variety for r, n in ((rows, "a"), (twice, "b")))
    for facet in ("source", "language", "author"):
        assert {n: c / 2 for n, (c, _) in rows_of(double, facet).items()} == {
            n: c for n, (c, _) in rows_of(once, facet).items()
        }
        assert double["shares"][facet]["effective"] == once["shares"][facet]["effective"]
    assert double["vendi"]["order_1"] == pytest.approx(once["vendi"]["order_1"], rel=1e-3)
    assert double["near_duplicates"]["rate"] > 0.95
    assert once["near_duplicates"]["rate"] == 0.0


def test_more_themes_are_more_varied(corpus: Corpus, mixed: Rows, theme_texts: Callable[..., list[str]]) -> None:
    narrow = measure(data_files(corpus([{"text": t} for t in theme_texts("sea", 90)], name="a"))).variety
    wide = measure(data_files(corpus(mixed(30), name="b"))).variety
    assert wide["vendi"]["order_1"] > 1.5 * narrow["vendi"]["order_1"]
    assert wide["vendi"]["order_2"] > 1.5 * narrow["vendi"]["order_2"]
    assert wide["distinct"]["1"]["mean"] > narrow["distinct"]["1"]["mean"]
    assert wide["compression_ratio"] < narrow["compression_ratio"]


def test_children_of_augmentation_are_passed_over_but_have_a_topic(corpus: Corpus, mixed: Rows) -> None:
    rows = mixed()
    children = [{"id": f"c{n}", "parent_id": f"d{n}"} | row for n, row in enumerate(rows[:60])]
    folder = corpus([*rows, *children], name="a")
    found = write_variety(folder)
    plain = measure(data_files(corpus(rows, name="b"))).variety
    assert found == plain
    assert pq.read_metadata(folder / "clusters.parquet").num_rows == 180


def test_the_sample_is_bounded_and_the_same_for_a_seed(corpus: Corpus, mixed: Rows) -> None:
    files = data_files(corpus(mixed(200), group=100))
    a, b = measure(files, size=50), measure(files, size=50)
    assert a.variety == b.variety
    assert a.sample.height == a.variety["sample"] == 50
    assert a.variety["documents"] == sum(t["documents"] for t in a.variety["topics"]) == 600
    other = measure(files, size=50, seed=1)
    assert a.sample["id"].to_list() != other.sample["id"].to_list()


def test_texts_without_words_and_single_documents(corpus: Corpus) -> None:
    found = write_variety(corpus([{"text": "…"}, {"text": ""}, {"text": None}], name="a"))
    assert found["vendi"]["documents"] == 0
    assert found["near_duplicates"]["rate"] == 0.0
    one = write_variety(corpus([{"text": "a whale of a time"}], name="b"))
    assert one["vendi"]["order_1"] == 1.0
    assert [t["documents"] for t in one["topics"]] == [1]
    with pytest.raises(InputError, match="no document"):
        measure(data_files(corpus([], name="c")))


def test_any_embedding_can_stand_in(corpus: Corpus, tmp_path: Path, mixed: Rows) -> None:
    folder = corpus(mixed(20), files=2)
    files = data_files(folder)
    ids = [i for f in files for i in pq.read_table(f, columns=["id"]).column("id").to_pylist()]
    vectors = np.eye(3, dtype=np.float32)[[int(i[1:]) // 20 for i in ids]]
    np.save(tmp_path / "v.npy", vectors)
    chosen = open_vectors(tmp_path / "v.npy", 60)
    assert isinstance(chosen, DocumentVectors)
    found = measure(files, embedding=chosen, topics=3)
    assert found.variety["vendi"]["order_1"] == pytest.approx(3, rel=1e-3)
    assert sorted(t["documents"] for t in found.variety["topics"]) == [20, 20, 20]

    class Asked:
        def embed(self, texts: list[str]) -> np.ndarray:
            return np.array([[t.count("whale"), t.count("judge") + 1.0] for t in texts], np.float32)

    assert measure(files, embedding=Embedded(Asked())).vectors.shape == (60, 2)

    words = "3 2\nwhale 1 0\njudge 0 1\noven 0 -1\n"
    (tmp_path / "words.txt").write_text(words)
    mean = open_vectors(tmp_path / "words.txt", 60)
    assert isinstance(mean, MeanOfWords)
    rows = mean.of(pa.array(["Whale!", "the judge", "nothing known", None]), np.arange(4))
    assert rows == pytest.approx(np.array([[1, 0], [0, 1], [0, 0], [0, 0]]), abs=1e-6)

    with pytest.raises(InputError, match="no vector for each of 61"):
        open_vectors(tmp_path / "v.npy", 61)
    (tmp_path / "w.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="no array of vectors"):
        open_vectors(tmp_path / "w.npy", 60)


def test_hashed_words_keep_cosines() -> None:
    """Alike texts have alike vectors, unrelated ones nearly none in common; case and marks do not matter."""
    texts = pa.array(
        ["The whale dives deep", "the WHALE, dives: deep!", "a judge reads verdicts", "the whale judge", ""]
    )
    found = HashedWords.fit(texts).of(texts, np.arange(5))
    likeness = found @ found.T
    assert likeness[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert abs(likeness[0, 2]) < 0.15
    assert 0.2 < likeness[0, 3] < 0.8
    assert not found[4].any()


def test_files_of_others_with_fewer_columns(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["one two", "three four"]})
    pq.write_table(table, tmp_path / "x.parquet")
    found = measure([tmp_path / "x.parquet"]).variety
    assert found["shares"]["source"]["unknown"]["documents"] == 2
    assert set(table.column_names) < set(DOCUMENTS.names)
