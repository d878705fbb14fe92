from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.tokenizer.sample import Sample, draw, shares

Make = Callable[..., Path]


def files(corpus: Path) -> list[Path]:
    return sorted((corpus / "data").glob("train-*.parquet"))


def taken(sample: Sample) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for source, texts in sample.by_source():
        sizes[source] = sizes.get(source, 0) + sum(map(len, texts.to_pylist()))
    return sizes


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, corpus_of: Make) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    return corpus_of(folder, {"large": ["é" * 100] * 900, "small": ["b" * 100] * 100, "long": ["c" * 50_000]})


def test_everything_where_it_is_little(corpus: Path) -> None:
    sample = draw(files(corpus))
    assert taken(sample) == dict(sample.characters) == {"large": 90_000, "small": 10_000, "long": 10_000}
    assert sample.total == 110_000


def test_every_source_has_its_share(corpus: Path) -> None:
    sample = draw(files(corpus), characters=22_000)
    sizes = taken(sample)
    assert sizes == dict(sample.characters)
    assert sizes["large"] == pytest.approx(18_000, rel=0.02)
    assert sizes["small"] == pytest.approx(2000, rel=0.1)
    assert sizes["long"] == 10_000  # one document: a source is never left out


def test_temperature_favours_small_sources(corpus: Path) -> None:
    flat = taken(draw(files(corpus), characters=22_000, temperature=float("inf")))
    assert flat["large"] == pytest.approx(7333, rel=0.05)
    assert flat["small"] == pytest.approx(7333, rel=0.05)


def test_a_larger_sample_holds_a_smaller_one(corpus: Path) -> None:
    def ids(sample: Sample) -> dict[str, int]:
        return dict(sample.below)

    small, large = draw(files(corpus), characters=5000), draw(files(corpus), characters=20_000)
    assert all(small.below[s] <= large.below[s] for s in small.below)
    assert ids(large.smaller(5000)) == ids(small)


def test_missing_texts_and_no_files(tmp_path: Path, corpus_of: Make) -> None:
    place = corpus_of(tmp_path, {"s": [None, "", "abc"]})
    assert taken(draw(files(place))) == {"s": 3}
    assert draw([]).total == 0


def test_augmented_children_are_left_out(tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": "real words here", "source": "s"} for n in range(4)]
    rows += [{"id": f"c{n}", "text": "rael wrods ehre " * 9, "source": "s", "parent_id": f"d{n}"} for n in range(4)]
    rows.append({"id": "c", "text": "all of this source is made", "source": "t", "parent_id": "d0"})
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), tmp_path / "train-0.parquet", row_group_size=3)
    sample = draw([tmp_path / "train-0.parquet"])
    assert taken(sample) == dict(sample.characters) == dict(sample.of) == {"s": 60}
    assert {text for texts in sample for text in texts.to_pylist()} == {"real words here"}


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 10**6), min_size=1, max_size=6),
    st.integers(1, 10**7),
    st.floats(1.0, 8.0),
)
def test_shares_add_up_and_give_nobody_more_than_there_is(of: dict[str, int], limit: int, temperature: float) -> None:
    found = shares(of, limit, temperature)
    assert sum(found.values()) == pytest.approx(min(limit, sum(of.values())))
    assert all(found[s] <= of[s] * (1 + 1e-9) for s in of)
    order = sorted(of, key=lambda s: of[s])
    parts = [found[s] / of[s] for s in order]
    assert all(a >= b * (1 - 1e-9) for a, b in pairwise(parts)), "small ones give more of theirs"
