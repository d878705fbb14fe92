"""English and Italian sentences from the descriptions of Debian's packages: a ``pairs.tsv`` of over 100,000 rows.

`python examples/translator/pairs.py OUT`: apt's own client fetches two lists of translations (11 MB, into a folder
of their own: the system's lists stay as they are), the descriptions are paired by the hash of the English one, and
their sentences where both sides have as many.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONFIG = """#clear Acquire::Languages;
Acquire::Languages {{ "en"; "it"; }};
Dir::State::lists "{folder}/lists";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::sourcelist "{folder}/one.list";
"""
LINE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n"
ENDS = re.compile(r"(?<=[.!?])\s+")
LONGEST = 200  # characters of a sentence


def main() -> None:
    """Fetch, pair, write."""
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="lamina-pairs-") as name:
        english, italian = (described(file) for file in fetch(Path(name)))
    seen: set[tuple[str, str]] = set()
    for key in sorted(english.keys() & italian.keys()):
        seen.update(sentences(english[key], italian[key]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(("en", "it"))
        rows.writerows(sorted(seen))
    print(f"{len(seen):,} pairs of sentences out of {len(english.keys() & italian.keys()):,} descriptions: {out}")


def fetch(folder: Path) -> Iterator[str]:
    """The two lists, as text: English first."""
    folder.chmod(0o755)  # apt's fetcher may be another user
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "one.list").write_text(LINE)
    (folder / "apt.conf").write_text(CONFIG.format(folder=folder))
    subprocess.run(["apt-get", "update", "-q", "-c", str(folder / "apt.conf")], check=True)
    for language in ("en", "it"):
        place = next((folder / "lists").glob(f"*Translation-{language}*"))
        helper = ["/usr/lib/apt/apt-helper", "cat-file", str(place)]
        yield subprocess.run(helper, check=True, capture_output=True).stdout.decode()


def described(text: str) -> dict[str, list[str]]:
    """Hash of the English description: its paragraphs, the title first."""
    found: dict[str, list[str]] = {}
    for stanza in text.split("\n\n"):
        key, paragraphs = "", [""]
        for line in stanza.split("\n"):
            if line.startswith("Description-md5:"):
                key = line.split(":", 1)[1].strip()
            elif line.startswith("Description-"):
                paragraphs = [line.split(":", 1)[1].strip(), ""]
            elif line == " .":
                paragraphs.append("")
            elif line.startswith(" "):
                paragraphs[-1] = f"{paragraphs[-1]} {line.strip()}".strip()
        found[key] = paragraphs
    return found


def sentences(english: list[str], italian: list[str]) -> Iterator[tuple[str, str]]:
    """Sentences side by side, where paragraphs and their sentences are as many; what was left in English is not."""
    if len(english) != len(italian):
        return
    for ours, theirs in zip(english, italian, strict=True):
        left, right = ENDS.split(ours), ENDS.split(theirs)
        if len(left) == len(right):
            for a, b in zip(left, right, strict=True):
                if a and b and a != b and max(len(a), len(b)) <= LONGEST:
                    yield a.replace("\t", " "), b.replace("\t", " ")


if __name__ == "__main__":
    main()
