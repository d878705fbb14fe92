from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.data.clean.frames import DETAIL, to_batch, to_frame
from lamina.data.clean.lines import cut_lines, lines
from lamina.data.duplicates import lines as counting
from lamina.data.duplicates.lines import pieces
from lamina.data.duplicates.sketch import utf8
from lamina.kit.errors import ConfigError

Cut = Callable[..., list[str | None]]
SITE = [
    "HOME | About us | Contact 🔥\n\nThe whale {name} swam by.\n\nPage {n} of 30\nFollow us on all networks!",
    "Home - About us - Contact\n\nA story about {name} sailors\nand how they {name}.\n\nPage {n} of 30\n"
    "follow us on ALL networks",
]


@pytest.fixture
def cut(as_batches: Callable[..., Any]) -> Cut:
    def run(texts: list[str | None], sources: list[str] | None = None, units: int = 2, **parameters: Any) -> Any:
        told = {k: parameters[k] for k in ("where", "paragraphs", "figures") if k in parameters}
        parameters.pop("where", None)
        rows = pa.record_batch(
            {
                "id": [f"d{i:03d}" for i in range(len(texts))],
                "text": pa.array(texts, pa.string()),
                "source": sources or ["web"] * len(texts),
            }
        )
        found = to_frame(lines(as_batches(rows, units), **parameters).combine_chunks().to_batches()[0])
        assert found["drop"].is_null().all()
        joined = to_batch(to_frame(rows).join(found.drop("drop", "detail"), on="id", maintain_order="left"))
        return cut_lines(joined, **told)

    return run


def site(count: int = 40) -> list[str]:
    return [SITE[i % 2].format(n=i, name="x" * i) for i in range(count)]


def test_what_a_site_has_on_every_page_goes(cut: Cut) -> None:
    after = cut([*site(), "Contact\nhere is something else"])
    texts = after.column("text").to_pylist()
    assert texts[0] == "The whale  swam by.\n\nPage 0 of 30"
    assert texts[1] == "A story about x sailors\nand how they x.\n\nPage 1 of 30"
    assert texts[-1] == "Contact\nhere is something else"
    texts = cut(site(), figures=False).column("text").to_pylist()
    assert texts[1] == "A story about x sailors\nand how they x."
    details = after.column(DETAIL).to_pylist()
    assert json.loads(details[0]) == {"cut lines": 2}
    assert details[-1] is None


def test_the_share_that_boilerplate_has_is_a_signal(as_batches: Callable[..., Any]) -> None:
    texts = [*["same words\n" + f"other{i} words{i}" for i in range(20)], "alone in the world"]
    rows = {"id": [str(i) for i in range(21)], "text": texts}
    found = {r["id"]: r for r in lines(as_batches(rows, 3)).to_pylist()}
    assert found["0"]["boilerplate_share"] == pytest.approx(11 / 24)
    assert len(found["0"]["boilerplate_lines"]) == 1
    assert found["20"]["boilerplate_share"] == 0.0
    assert found["20"]["boilerplate_lines"] == []


def test_frequency_is_counted_by_source_and_a_line_once_a_document(cut: Cut) -> None:
    texts = [f"the same line\nbut number {'x' * i} differs" for i in range(12)]
    assert "the same" not in cut(texts, ["one"] * 12).column("text").to_pylist()[0]
    halves = cut(texts, ["one"] * 6 + ["two"] * 6).column("text").to_pylist()
    assert halves == texts
    again = cut(["again and again\n" * 50 + "end of it", *["nothing of the kind"] * 3]).column("text").to_pylist()
    assert again[0].startswith("again and again")


def test_share_and_count_are_both_exceeded(cut: Cut) -> None:
    texts = [f"a common line\nnumber {'x' * i}" if i < 12 else f"page {'y' * i} alone" for i in range(100)]
    assert cut(texts, share=0.12).column("text").to_pylist() == texts
    assert cut(texts, share=0.11).column("text").to_pylist()[0] == "number "
    assert cut(texts, share=0.0, count=12).column("text").to_pylist() == texts


def test_headers_and_footers_only(cut: Cut) -> None:
    texts = [
        f"The Daily Whale\n---\nThe story {'a' * i} begins.\nThe Daily Whale\nand {'b' * i} ends.\nThe Daily Whale"
        for i in range(20)
    ]
    after = cut(texts, where="edges").column("text").to_pylist()
    assert after[3] == "---\nThe story aaa begins.\nThe Daily Whale\nand bbb ends."
    assert "Daily" not in cut(texts).column("text").to_pylist()[3]


def test_paragraphs(cut: Cut) -> None:
    texts = [f"All rights\nare reserved.\n\nUnlike {'a' * i}\n \nAll rights\nare lost {'b' * i}" for i in range(20)]
    after = cut(texts, paragraphs=True).column("text").to_pylist()
    assert after[2] == "Unlike aa\n \nAll rights\nare lost bb"


def test_short_lines_empty_and_missing_texts_are_left_alone(cut: Cut) -> None:
    texts: list[str | None] = ["}\nelse\n" + "x" * i for i in range(20)]
    after = cut([*texts, None, "", "\n\n"]).column("text").to_pylist()
    assert after == [*texts, None, "", "\n\n"]
    assert cut(["only this line here"] * 20).column("text").to_pylist() == [""] * 20


def test_the_pass_must_come_before_the_transform() -> None:
    with pytest.raises(ConfigError, match="boilerplate_lines"):
        cut_lines(pa.record_batch({"id": ["a"], "text": ["b"]}))
    with pytest.raises(ConfigError):
        lines([], share=10)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(["a b", "c d", "E f!", "", "é", "one two three"]), max_size=6), max_size=12),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_units_and_order_mean_nothing(
    as_batches: Callable[..., Any], texts: list[list[str]], units: int, seed: int
) -> None:
    rows = [(f"d{i}", "\n".join(text)) for i, text in enumerate(texts)]

    def found(rows: list[tuple[str, str]], units: int) -> dict[str, Any]:
        columns = {
            "id": pa.array([i for i, _ in rows], pa.string()),
            "text": pa.array([t for _, t in rows], pa.string()),
        }
        return {r["id"]: r for r in lines(as_batches(columns, units), count=2, share=0.2).to_pylist()}

    whole = found(rows, 1)
    random.Random(seed).shuffle(rows)
    assert found(rows, units) == whole
    counts = {key: sum(key in text for text in texts) for key in ("a b", "one two three")}
    for i, text in enumerate(texts):
        frequent = {key for key, n in counts.items() if key in text and n > max(2, 0.2 * len(texts))}
        assert len(whole[f"d{i}"]["boilerplate_lines"]) >= len(frequent)


def test_counts_over_many_ranges_and_settlements(
    as_batches: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["\n".join(f"line number {'x' * ((i * k) % 37)} here" for k in range(20)) for i in range(50)]
    rows = {"id": [str(i) for i in range(50)], "text": texts}
    whole = lines(as_batches(rows, 1)).to_pylist()
    monkeypatch.setattr(counting, "_WAITING", 30)
    monkeypatch.setattr(counting, "_RANGE", 5)
    assert lines(as_batches(rows, 4)).to_pylist() == whole


def test_pieces_cover_the_text() -> None:
    texts = ["a b\n\nc", "", "\n", "x"]
    data, offsets = utf8(pa.array(texts))
    found = pieces(data, offsets)
    assert found.counts.tolist() == [3, 0, 1, 1]
    assert [bytes(data[a:b]) for a, b in found.bounds] == [b"a b\n", b"\n", b"c", b"\n", b"x"]
    assert (found.hashes != 0).tolist() == [True, False, True, False, True]
