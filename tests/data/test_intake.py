"""A unit's reading, and what those of all units say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.contracts.corpus import FilePart, SourceFile
from lamina.data.cuts import Unit
from lamina.data.intake import ReadingReport, merged


def unit(name: str, part: int | None = None) -> Unit:
    stretch = None if part is None else FilePart(begin=part, end=part + 1, first=part)
    return Unit(files=(SourceFile(name=name, path=Path(name), part=stretch),), size=1)


def facts(documents: int, read: list[str], unread: dict[str, str] | None = None) -> dict[str, Any]:
    return {"documents": documents, "read": read, "unread": unread or {}}


def test_a_file_that_was_cut_is_one_file() -> None:
    listed = {f"a.jsonl, line {n}": "is not JSON: bad (column 1)" for n in range(15)}
    later = {f"a.jsonl, line {n}": "is not JSON: bad (column 2)" for n in range(50, 65)}
    found = merged(
        [
            (unit("a.jsonl", 0), facts(10, ["a.jsonl"], listed | {"a.jsonl, 1,000 more": "is not JSON"})),
            (unit("a.jsonl", 1), facts(5, ["a.jsonl"], later | {"a.jsonl, 2 more": "is not JSON"})),
            (unit("b.txt"), facts(1, ["b.txt"], {"c.txt": "is empty"})),
        ]
    )
    assert found["documents"] == 16
    assert found["read"] == ["a.jsonl", "b.txt"]
    lines = [name for name in found["unread"] if ", line " in name]
    assert len(lines) == 20
    assert found["unread"]["a.jsonl, 1,012 more"] == "is not JSON"  # 2 + 10 of the later part that are not listed
    assert found["unread"]["c.txt"] == "is empty"


def test_no_part_has_a_document() -> None:
    told = [(unit("a.jsonl", n), facts(0, ["a.jsonl"])) for n in range(3)]
    assert merged(told) == {"documents": 0, "read": [], "unread": {"a.jsonl": "holds no document"}}
    told[1] = (unit("a.jsonl", 1), facts(1, ["a.jsonl"]))
    assert merged(told) == {"documents": 1, "read": ["a.jsonl"], "unread": {}}


def test_a_part_that_cannot_be_read_is_said_of_the_file() -> None:
    broken = facts(3, ["a.jsonl"], {"a.jsonl": "cannot be read: disk; 3 documents before that were kept"})
    found = merged([(unit("a.jsonl", 0), broken), (unit("a.jsonl", 1), facts(3, ["a.jsonl"]))])
    assert found["read"] == []
    assert list(found["unread"]) == ["a.jsonl"]


def test_as_many_complaints_of_two_sorts_are_both_told() -> None:
    report = ReadingReport()
    report.unread("a.jsonl, 3 more", "is not JSON")
    report.unread("a.jsonl, 3 more", "is not UTF-8")
    report.unread("b.txt", "is empty")
    report.unread("b.txt", "another reason")
    assert report.reasons == {"a.jsonl, 3 more": "is not JSON; is not UTF-8", "b.txt": "is empty"}
