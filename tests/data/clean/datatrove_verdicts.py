"""Texts of many kinds from the test material, and what datatrove 0.10.1 decides about each of them.

    .venv/bin/python tests/data/clean/datatrove_verdicts.py

runs FineWeb's filters of datatrove (in its own environment, `make bench-setup`) and writes `datatrove_verdicts.json`
beside this file, which the test reads: the hashes of the texts that they keep one after another, and of those that each
filter drops when it is alone, by its reason. No text is in it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from lxml import html

ROOT = Path(__file__).resolve().parents[3]
VERDICTS = Path(__file__).with_suffix(".json")
_PROSE = (
    "The whale rose slowly beside the boat and the men held their breath. The old captain watched the water and said"
    " nothing for a while. Then he turned to the mate with a smile. It was the first that they had seen in weeks."
    " Nobody knew what he was thinking about, and nobody dared to ask him."
)


def key(text: str) -> str:
    """What a text is called in the file of verdicts."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stamp(texts: Iterable[str]) -> str:
    """Tells whether these are the texts (their keys) that the file of verdicts is about."""
    return key(" ".join(sorted(texts)))


def documents(place: Callable[[str], Path]) -> dict[str, str]:
    """About 1,700 texts by their key: leads, chapters, chats, letters with headers, handbook pages, edge cases.

    ``place``: the folder of a material.
    """
    texts = [
        *_lot(_leads(place("wiki")), 600),
        *_chapters(place("moby-dick")),
        *_lot(_chats(place("chitchat")), 250),
        *_lot(_letters(place("spam-assassin")), 350),
        *_pages(place("electron")),
        *edges(),
    ]
    return {key(text): text for text in texts}


def _lot(texts: Iterable[str], count: int) -> list[str]:
    return sorted(dict.fromkeys(texts), key=key)[:count]


def _leads(folder: Path) -> Iterator[str]:
    articles = json.loads(next(folder.rglob("summaries_en-us.json")).read_text("utf-8"))
    return (article["extract"] for article in articles.values() if len(article["extract"]) >= 250)


def _chapters(folder: Path) -> list[str]:
    return [file.read_text("utf-8") for file in sorted(folder.rglob("chapter_*.txt"))]


def _chats(folder: Path) -> Iterator[str]:
    chats = json.loads(next(folder.rglob("dataset.json")).read_text("utf-8"))
    for chat in chats.values():
        yield "\n".join(message["text"] for turn in chat["messages"] for message in turn)


def _letters(folder: Path) -> Iterator[str]:
    files = sorted(folder.rglob("0*.txt"), key=lambda file: hashlib.sha256(file.name.encode()).digest())
    return (file.read_text("latin-1") for file in files[:400])


def _pages(folder: Path) -> Iterator[str]:
    pages = json.loads(next(folder.rglob("docs.json")).read_text("utf-8"))["en-US"]
    for page in pages.values():
        blocks = html.fragment_fromstring(page["html"], create_parent="div").iter("p", "li", "pre", "h1", "h2", "h3")
        yield "\n\n".join(block.text_content().strip() for block in blocks)


def edges() -> list[str]:
    """Texts on both sides of each limit, and of shapes that splitters disagree on."""
    sentences = _PROSE.split(". ")
    words = _PROSE.split()
    return [
        *("", " ", "\n\n\n", "word", _PROSE[:69]),
        *(" ".join(words[:n]) + "." for n in range(44, 56)),
        *(". ".join(sentences[:n]) for n in range(1, len(sentences))),
        *("\n".join([_PROSE, *(["The same line again."] * n)]) for n in range(8)),
        *("\n\n".join([_PROSE] * n) for n in range(1, 5)),
        *("\n".join(f"{mark} {line}" for line in [*sentences, *words[:20]]) for mark in ("-", "•", "*", "–", "1.")),
        *(
            "\n".join(f"{line}{end}" for line in [*sentences] * 3)
            for end in ("...", "…", " …", "", ":", "!", "?”", ".'")
        ),
        *(
            _PROSE + tail
            for tail in (" {", " Lorem ipsum dolor.", "\nLorem ipsum dolor sit.", "\nEnable JavaScript now.")
        ),
        *(_PROSE + "\n" + line for line in ("See our privacy policy.", "We use cookies here.", "x" * 1001 + " a b.")),
        *(_PROSE + " #" * n for n in range(2, 12, 2)),
        *(_PROSE + " ..." * n for n in range(2, 12, 2)),
        *(_PROSE.replace(". ", mark) for mark in (".[1] ", ".[edit] ", '." ', ".) ", "!\u00a0", ".\t", ".  ", "。")),
        *(_PROSE.replace(" ", space) for space in ("  ", "\u00a0", "\n", "\r\n", "\u2003", "\u200b", " \n ")),
        *(_PROSE.replace("e", letter) for letter in ("é", "ё", "1", "鲸", "e\u0301", "-", "'")),
        *(" ".join(words[i % n] for i in range(150)) + "." for n in range(2, 40, 3)),
        *("\n".join(words[i : i + 4]) for i in range(0, 40, 4)),
        *("\n".join(" ".join(words[i : i + n]) for i in range(0, len(words), n)) for n in range(1, 8)),
    ]


def main() -> int:
    """Ask datatrove, and write what it says."""
    places = json.loads((ROOT / ".cache" / "material" / "places.json").read_text())
    texts = documents(lambda name: Path(places[name]))
    with tempfile.TemporaryDirectory() as folder:
        pages, said = Path(folder, "pages.parquet"), Path(folder, "said.json")
        pq.write_table(pa.table({"id": list(texts), "text": list(texts.values())}), pages)
        python = ROOT / ".bench" / "datatrove" / "bin" / "python"
        peer = ROOT / "benchmarks" / "peer_datatrove.py"
        subprocess.run([str(python), str(peer), "rules", str(pages), str(said), "0", "1", "--alone"], check=True)
        told = json.loads(said.read_text())
    found: dict[str, list[str]] = defaultdict(list, kept=sorted(told["kept"]))
    for name in sorted(texts):
        for step, reason in told["verdicts"][name].items():
            if reason:
                found[f"{step}: {reason}"].append(name)
    lines = {reason: " ".join(names) for reason, names in sorted(found.items())}
    VERDICTS.write_text(json.dumps({"texts": stamp(texts), **lines}, indent=0) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
