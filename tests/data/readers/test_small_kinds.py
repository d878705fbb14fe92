"""Notebooks, subtitles, LaTeX, Confluence's exports, conversations."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from lamina.data.readers import confluence, latex
from lamina.data.readers.conversation import conversation
from lamina.data.readers.notebook import cells
from lamina.data.readers.subtitles import spoken
from lamina.kit.errors import DocumentError


def test_a_notebook_without_what_it_put_out() -> None:
    found = cells(
        {
            "metadata": {"kernelspec": {"language": "python"}, "title": "Lamps"},
            "cells": [
                {"cell_type": "markdown", "source": ["# Head\n", "words"]},
                {"cell_type": "code", "source": "print(1)", "outputs": [{"text": ["no"]}]},
                {"cell_type": "code", "source": "", "outputs": []},
                "no cell",
            ],
        }
    )
    assert found["text"] == "# Head\nwords\n\n```python\nprint(1)\n```"
    assert (found["title"], found["meta"]) == ("Lamps", {"programming_language": "python"})
    old = {
        "worksheets": [
            {"cells": [{"cell_type": "heading", "level": 2, "source": "H"}, {"cell_type": "code", "input": "x"}]}
        ]
    }
    assert cells(old)["text"] == "## H\n\n```\nx\n```"
    for value in ([], {"cells": {}}, {"cells": []}, {"cells": [{"cell_type": "code", "source": 3}]}):
        with pytest.raises(DocumentError):
            cells(value)


def test_subtitles_as_running_text() -> None:
    srt = (
        "1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>Call me</i>\r\n\r\n2\r\n00:00:02,100 --> 00:00:03,000\r\n"
        "- Ishmael. {\\an8}\r\n\r\n3\r\n00:00:09,000 --> 00:00:10,000\r\nSome years ago"
    )
    assert spoken(srt) == "Call me Ishmael.\n\nSome years ago"
    vtt = "WEBVTT\n\nNOTE no\n\n00:01.000 --> 00:02.000 align:start\nhello there\n\n"
    vtt += "00:02.000 --> 00:03.000\nhello there\nfriend"
    assert spoken(vtt) == "hello there friend"
    with pytest.raises(DocumentError):
        spoken("only words")


def test_latex_without_commands_and_with_mathematics() -> None:
    found = latex.plain(
        r"""\documentclass{article}\title{A \emph{Big} Title}\author{Ann}
\begin{document}\maketitle
\section{Intro} Some \textbf{bold \emph{deep}} text~\cite{x}, 50\% of $x_1^2$. % comment
\begin{itemize}\item one \item two\end{itemize}
Caf\'e na\"{\i}ve stra\ss e\footnote{A note.} \begin{equation} a=b \end{equation} ``q'' --- end.
\begin{figure}\includegraphics{x}\caption{no}\end{figure}
\end{document} after"""
    )
    assert found["text"].startswith(
        "## Intro\n\nSome bold deep text , 50% of $x_1^2$.\n\n- one\n- two\n\nCafé naïve straße (A note.)"
    )
    assert found["text"].endswith("“q” — end.")
    assert (found["title"], found["author"]) == ("A Big Title", "Ann")
    assert "after" not in found["text"]
    assert latex.plain("A part without a preamble.")["text"] == "A part without a preamble."


@pytest.mark.parametrize("piece", ["{", "\\a{", "$", "\\begin{equation}", "\\cite[", "\\title{{", "\\footnote{"])
def test_latex_that_never_closes_ends_in_time(piece: str) -> None:
    start = time.monotonic()
    with suppress(DocumentError):
        latex.plain("x" + piece * 3000)
    assert time.monotonic() - start < 5


def test_a_confluence_space() -> None:
    def thing(kind: str, name: str, *properties: str) -> str:
        return f'<object class="{kind}" package="c"><id name="id">{name}</id>{"".join(properties)}</object>'

    def value(name: str, text: str) -> str:
        return f'<property name="{name}"><![CDATA[{text}]]></property>'

    def link(name: str, target: str) -> str:
        return f'<property name="{name}" class="x"><id name="id">{target}</id></property>'

    storage = (
        '<p>See <ac:link><ri:page ri:content-title="Other" /></ac:link>&nbsp;&uuml;.</p><ac:structured-macro>'
        '<ac:parameter ac:name="language">py</ac:parameter><ac:plain-text-body><![CDATA[a < b\n  c]]]]><![CDATA[>'
        "</ac:plain-text-body></ac:structured-macro>"
    )
    current = value("contentStatus", "current")
    data = (
        "<hibernate-generic>"
        + thing("Space", "9", value("name", "Team"))
        + thing(
            "Page",
            "1",
            value("title", "Lamps"),
            current,
            link("space", "9"),
            value("creationDate", "2024-05-01 10:00:00.0"),
        )
        + thing("BodyContent", "2", f'<property name="body"><![CDATA[{storage}]]></property>', link("content", "1"))
        + thing("Page", "3", value("title", "Old"), current, link("originalVersion", "1"))
        + thing("Page", "4", value("title", "Draft"), value("contentStatus", "draft"))
        + thing("Page", "5", value("title", "Empty"), current)
        + "</hibernate-generic>"
    )
    found = confluence.read({}, data.encode())
    (document,) = found["documents"]
    assert document["text"] == "See Other ü.\n\na < b\n  c"
    assert (document["title"], document["group_id"], document["created"]) == ("Lamps", "Team", "2024-05-01T10:00:00.0")
    assert found["unread"] == [["page 5", "holds no text"]]


def test_records_that_are_conversations() -> None:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    answer = [{"role": "assistant", "content": "Hello."}]
    text = "System: Be kind.\nA: Hi\nB: Hello."
    for record in (
        {"messages": said + answer},
        {
            "conversations": [
                {"from": "system", "value": "Be kind."},
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello."},
            ]
        },
        {"prompt": said, "completion": answer},
        {"prompt": said, "chosen": answer, "rejected": [{"role": "assistant", "content": "Go."}]},
    ):
        found = conversation(record)
        assert found is not None
        assert found["text"] == text
        assert found["meta"]["messages"][-1] == answer[0]
    for record in (
        {"text": "x", "messages": said},
        {"messages": ["x"]},
        {"prompt": "x"},
        [],
        {"messages": [{"role": "tool", "content": "x"}]},
    ):
        assert conversation(record) is None


def test_feedback_that_must_not_be_learnt_from() -> None:
    row = {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Ho"}]}
    row |= {"feedback_id": "f1", "interaction_id": "i", "user": "u", "split": "train"}
    found = conversation(row | {"label": True})
    assert found is not None
    assert found["id"] == "f1"
    assert "user" not in found["meta"]
    with pytest.raises(DocumentError, match="held out"):
        conversation(row | {"split": "held-out"})
    with pytest.raises(DocumentError, match="wrong"):
        conversation(row | {"label": False})
