"""The quick extractor: what is seen of a page's article, and nothing round it."""

from __future__ import annotations

import pytest

from lamina.data.readers.main_text import main_text, parse

STORY = (
    "The lighthouse at Grane was built in 1871 by Josef Hartung, who had seen two ships go down in one winter. "
    "It burned whale oil for eleven years, and colza oil after that, until the keeper asked for paraffin."
)


def text(body: str) -> str:
    return main_text(parse(f"<html><body>{body}</body></html>"))


def test_tags_within_a_line_leave_their_words_where_they_are() -> None:
    line = (
        'It burned <b>whale</b> oil <em>for <code>eleven</code></em> years, <a href="/x">more</a><span>s</span> of it.'
    )
    assert text(f"<p>{STORY}</p><p>{line}</p>") == f"{STORY}\n\nIt burned whale oil for eleven years, mores of it."


@pytest.mark.parametrize(
    "hidden",
    [
        '<i aria-hidden="true">expand_more</i>',
        "<b hidden>expand_more</b>",
        '<font style="display: none">expand_more</font>',
        '<span style="visibility:hidden">expand_more</span>',
        '<div class="navbar"><a href="/">expand_more</a></div>',
        "<nav><ul><li>expand_more</ul></nav>",
    ],
)
def test_what_is_not_seen_or_leads_elsewhere_is_left_out(hidden: str) -> None:
    assert text(f"<p>{STORY}{hidden}</p><p>{STORY}</p>").split("\n\n") == [STORY, STORY]


def test_a_list_of_links_goes_and_one_with_words_stays() -> None:
    links = "".join(f'<li><a href="/{n}">Another story of ours {n}</a></li>' for n in range(9))
    words = "".join(f"<li>{n} barrels of whale oil and paraffin</li>" for n in range(3))
    found = text(f"<div><p>{STORY}</p><ul>{links}</ul><ul>{words}</ul><p>{STORY}</p></div>")
    assert "Another story" not in found
    assert "- 2 barrels of whale oil" in found


def test_what_was_taken_out_weighs_no_more() -> None:
    """Of all the text that is left the story makes nearly all, so that its element holds the page's text."""
    sidebar = f'<div class="sidebar">{"<p>Advice on lamps and oil of all kinds, at length.</p>" * 6}</div>'
    story = f'<div class="b"><p>{STORY}</p><p>{STORY}</p></div>'
    assert text(f'<div class="a">{sidebar}<p>Imprint</p></div>{story}').split("\n\n") == [STORY, STORY]


def test_code_keeps_its_lines_and_spaces() -> None:
    code = "for oil in lamp:\n    burn(oil)\n\n    wait()"
    assert text(f"<p>{STORY}</p><pre>{code}</pre>") == f"{STORY}\n\n{code}"
