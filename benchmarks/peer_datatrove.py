"""What datatrove decides about each page, and in which time: run by its own interpreter, `.bench/datatrove`.

    peer_datatrove.py rules PAGES.parquet OUT.json PART PARTS

The order and the parameters are those of datatrove's own examples/fineweb.py. Every page is also given to each filter
alone (after the clock has stopped), so that decisions can be compared rule by rule.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_words


def filters() -> dict[str, Any]:
    """The rules, in FineWeb's order."""
    return {
        "repetition": GopherRepetitionFilter(),
        "quality": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }


def documents(path: str, part: int, parts: int) -> Iterator[Document]:
    """Every ``parts``-th row group."""
    file = pq.ParquetFile(path)
    for group in range(part, file.num_row_groups, parts):
        for row in file.read_row_group(group, ["id", "text"]).to_pylist():
            yield Document(text=row["text"], id=row["id"])


def rules(path: str, part: int, parts: int, alone: bool) -> dict[str, Any]:
    """Seconds of the whole chain, the ids that it keeps, and each filter's verdict on each page."""
    chain = filters()
    split_into_words("warm up")
    begin = time.perf_counter()
    stream: Any = documents(path, part, parts)
    for step in chain.values():
        stream = step.run(stream)
    kept = [document.id for document in stream]
    seconds = time.perf_counter() - begin
    verdicts: dict[str, dict[str, str]] = {}
    if alone:
        for document in documents(path, part, parts):
            text, found = document.text, {}
            for name, step in chain.items():
                document.text = text
                verdict = step.filter(document)
                found[name] = "" if verdict is True else verdict[1]
            verdicts[document.id] = found
    return {"seconds": seconds, "kept": kept, "verdicts": verdicts}


if __name__ == "__main__":
    work, path, out, part, parts = sys.argv[1:6]
    if work != "rules":
        raise SystemExit(f"unknown work {work}")
    result = rules(path, int(part), int(parts), "--alone" in sys.argv)
    with open(out, "w") as file:
        json.dump(result, file)
