"""The house's caps: a file of over 300 lines says why at its top, a function has at most 60."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))


def too_long(file: Path) -> Iterator[str]:
    text = file.read_text()
    lines = text.count("\n")
    if lines > 300 and "Over 300 lines because" not in text[:2000]:
        yield f"{file} has {lines} lines and no reason"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > 60:
                yield f"{file}:{node.lineno} {node.name} has {length} lines"


def test_file_and_function_lengths() -> None:
    found = [words for file in FILES for words in too_long(file)]
    assert not found, "\n".join(found)
