"""trafilatura over a folder of pages in a pool of processes: `peer_trafilatura.py quick|usual WORKERS FOLDER OUT`.

OUT becomes a JSON object of file name: text.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import trafilatura


def extract(file: Path, fast: bool) -> tuple[str, str]:
    """The name and the text of a page; "" where it finds none."""
    return file.name, trafilatura.extract(file.read_text(encoding="utf-8"), fast=fast) or ""


def main(form: str, workers: int, folder: str, out: str) -> None:
    """Read all pages."""
    files = sorted(Path(folder).glob("*.html"))
    with ProcessPoolExecutor(workers) as pool:
        texts = dict(pool.map(partial(extract, fast=form == "quick"), files, chunksize=8))
    Path(out).write_text(json.dumps(texts))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
