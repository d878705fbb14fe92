"""The parts of a report's page: well formed, escaped, to scale."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

from lamina.kit.page import Raw, as_file, curves, page, sample, table


def heights(figure: str, kind: str) -> list[float]:
    found = re.search(rf'class="line {kind}" points="([^"]+)"', figure)
    assert found is not None
    return [float(pair.split(",")[1]) for pair in found[1].split()]


def test_a_curve_falls_where_its_values_fall_and_names_its_axes() -> None:
    points = [(float(n), 8.0 - n / 20) for n in range(1, 101)]
    figure = curves("loss <nats>", [("training", points)], across="steps", faint=[(5.0, math.nan), (6.0, 7.5)])
    assert heights(figure, "l0") == sorted(heights(figure, "l0"))  # down the page
    assert "loss &lt;nats&gt;" in figure
    assert "100 steps" in figure
    assert all(f">{tick}</text>" in figure for tick in (4, 6, 8))
    assert "nan" not in figure
    ET.fromstring(figure.replace("<figure>", "<figure>", 1))


def test_many_points_are_drawn_as_means_and_the_wildest_do_not_set_the_scale() -> None:
    points = [(float(n), 1.0 + (n % 2)) for n in range(5000)]
    points[100] = (100.0, 1e6)
    figure = curves("t", [("a", points)], across="steps")
    assert len(heights(figure, "l0")) <= 401
    assert "1e6" not in figure
    assert max(heights(figure, "l0")) - min(heights(figure, "l0")) <= 200


def test_several_curves_have_a_key_marks_a_name_and_no_curve_no_picture() -> None:
    lines = [("training", [(1.0, 3.0), (9.0, 2.0)]), ("held out", [(9.0, 2.5)])]
    figure = curves("loss", lines, across="steps", marks=[("expected", 1.0)])
    assert figure.count('class="key"') == 2
    assert "expected</text>" in figure
    assert "<circle" in figure  # a single measurement
    assert curves("loss", [("training", [])], across="steps") == ""
    assert curves("loss", [("training", [(1.0, math.inf)])], across="steps") == ""


def test_a_picture_is_a_file_of_its_own() -> None:
    drawn = ET.fromstring(as_file(curves("loss", [("a", [(1.0, 3.0), (2.0, 2.0)])], across="steps")))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--paper" in (drawn[0].text or "")


def test_a_page_holds_what_it_is_given_and_no_address() -> None:
    made = page("a & b", [table(("x", "n"), [("<i>", 1000), (Raw("<b>r</b>"), 2)]), sample("t", [], "words", shown=9)])
    assert "<title>a &amp; b</title>" in made
    assert "&lt;i&gt;" in made
    assert "<b>r</b>" in made
    assert "1,000" in made
    assert "<header><b>t</b></header>" in made
    assert "http" not in made
    assert "<script" not in made
