"""The pictures of the corpus page: sizes tell amounts, words are escaped, nothing overlaps."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from lamina.data.report_pictures import alluvial, histogram
from lamina.kit.page import sample, table

FLOWS = {("a", "kept"): 60.0, ("a", "short"): 20.0, ("<b>", "kept"): 15.0, ("<b>", "near & far"): 5.0}
SOURCES, FATES = ["a", "<b>", "never"], ["kept", "short", "near & far", "nothing"]


def draw() -> str:
    return alluvial("documents", FLOWS, sources=SOURCES, fates=FATES, kept="kept", unit="documents")


def numbers(pattern: str, text: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, text)]


def test_heights_are_amounts_and_bars_do_not_overlap() -> None:
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="([\d.]+)" width="12" height="([\d.]+)"', draw())
    left = [(float(y), float(h)) for _, x, y, h in bars if float(x) < 500]
    right = [(float(y), float(h)) for _, x, y, h in bars if float(x) > 500]
    assert [h for _, h in left] == pytest.approx([260 * 0.8, 260 * 0.2])
    assert [h for _, h in right] == pytest.approx([260 * 0.75, 260 * 0.2, 260 * 0.05])
    for side in (left, right):
        assert all(y + h < following for (y, h), (following, _) in pairwise(side))


def test_ribbons_leave_and_arrive_within_their_bars() -> None:
    picture = draw()
    starts = re.findall(r'class="ribbon (\w+)" d="M290,([\d.]+)C', picture)
    assert [kind for kind, _ in starts] == ["s0", "s1", "s0", "s1"]
    a, b, c, d = (float(y) for _, y in starts)
    assert c == pytest.approx(a + 260 * 0.6, abs=0.2)
    assert d == pytest.approx(b + 260 * 0.15, abs=0.2)


def test_names_are_escaped_and_what_is_empty_is_left_out() -> None:
    picture = draw()
    assert "&lt;b&gt;" in picture
    assert "<b>" not in picture
    assert "near &amp; far" in picture
    assert "never" not in picture
    assert "nothing" not in picture
    assert "<title>a: 20 documents short</title>" in picture
    assert alluvial("x", {}, sources=[], fates=[], kept="kept", unit="x") == ""


def test_a_histogram_stacks_what_was_dropped_on_what_was_kept() -> None:
    values = np.array([0.0] * 6 + [10.0] * 4 + [1e9])
    kept = np.array([True] * 4 + [False] * 2 + [True] * 5)
    picture = histogram("a & b", values[:-1], kept[:-1])
    assert "6 documents" in picture
    assert "a &amp; b" in picture
    keep, lose = (re.findall(rf'<rect class="{kind}".*?height="([\d.]+)"', picture) for kind in ("keep", "lose"))
    assert float(keep[0]) == pytest.approx(90 * 4 / 6, abs=0.1)
    assert [float(h) for h in lose] == pytest.approx([90 * 2 / 6], abs=0.1)
    assert float(keep[-1]) == pytest.approx(90 * 4 / 6, abs=0.1)
    assert histogram("x", np.array([]), np.array([], dtype=bool)) == ""
    assert "median 8" in histogram("x", np.array([0.0, 3.0, 6.0]), np.array([True] * 3), powers=True)


def test_tables_and_samples() -> None:
    shown = table(("name", "count"), [("a" * 40, 1234), ("b c", 5)])
    assert '<td class="long">' in shown
    assert '<td class="n">1,234</td>' in shown
    text = sample("T", ["en", ""], "one\n\n\n" + "word " * 99, shown=20, gone=True)
    assert text == '<article class="gone"><header><b>T</b> · en</header><div>one\nword word word …</div></article>'
    HTMLParser().feed(draw() + shown + text)
