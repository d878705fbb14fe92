"""Run benchmarks and write RESULTS.md from their rows: `run.py [NAME[:ROW]…] [--quick] [--take FILE]`.

Each ``bench_<name>.py --json`` prints one object a line (see docs/how-to of each file's own head). Rows of benchmarks
that did not run now, or ran on another kind of machine, are kept from ``rows.jsonl``. ``--take``: the rows are those of
FILE, which NAME printed before, or on another machine (one with a GPU).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROWS = HERE / "rows.jsonl"
RESULTS = HERE / "RESULTS.md"
HEAD = """# Measurements

Ratios of medians, ours against a named peer, in turns in one run on one machine; above 1 means that Lamina is better.
Written by `make bench` from the
objects in `rows.jsonl`, never by hand. Machines are shared and noisy: the spread is the range of the pairwise ratios.

"""


COLUMNS = "\n".join(
    [
        "| work | peer | ours | theirs | ratio | spread | quality held | runs | date |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
)


def main() -> int:
    """Run what was asked for, keep the rest, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="engine, train, data:html, …; default: all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--take", type=Path, help="what the one NAME printed with --json elsewhere")
    arguments = parser.parse_args()
    names = arguments.names or sorted(p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py"))
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    for name, _, row in (name.partition(":") for name in names):
        if arguments.take is not None:
            printed = arguments.take.read_text()
        else:
            printed = _printed(name, row, quick=arguments.quick)
        fresh = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        now = datetime.now(UTC).date().isoformat()
        words = [f"benchmarks/bench_{name}.py", row, "--quick" if arguments.quick else ""]
        told = " ".join(filter(None, words))
        fresh = [found | {"benchmark": name, "date": now, "command": told} for found in fresh]
        measured = {_name(row) for row in fresh}
        rows = sorted([row for row in rows if _name(row) not in measured] + fresh, key=_name)
        ROWS.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
        RESULTS.write_text(HEAD + table(rows))
    return 0


def _name(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """What a row is a measurement of."""
    return row["benchmark"], row["machine"], row["work"], row["peer"]


def _printed(name: str, row: str, *, quick: bool) -> str:
    command = [str(HERE / f"bench_{name}.py"), *([row] if row else []), *(["--quick"] if quick else [])]
    done = subprocess.run([sys.executable, *command, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, a benchmark a section, a machine a table."""
    parts = []
    for name in dict.fromkeys(row["benchmark"] for row in rows):
        parts.append(f"## {name}\n")
        of_name = [row for row in rows if row["benchmark"] == name]
        for machine in dict.fromkeys(row["machine"] for row in of_name):
            some = [row for row in of_name if row["machine"] == machine]
            parts += [f"{machine}:\n\n{COLUMNS}", *map(_line, some), ""]
            versions: dict[str, list[str]] = {}
            for row in some:
                kinds = versions.setdefault(row["command"], [])
                kinds += [one for one in _versions(row["versions"]).split(", ") if one not in kinds]
            parts += [*(f"`{command}`; {', '.join(kinds)}  " for command, kinds in versions.items()), ""]
    return "\n".join(parts)


def _line(row: dict[str, Any]) -> str:
    ratio = f"{row['ratio']:.2f}" if isinstance(row.get("ratio"), int | float) else "-"
    cells = [
        row["work"],
        row["peer"],
        _number(row["ours"], row["unit"]),
        _number(row.get("theirs"), row["unit"]),
        ratio,
    ]
    cells += [str(row.get("spread", "")), str(row.get("quality", "")), str(row.get("runs", "")), row["date"]]
    return "| " + " | ".join(cells) + " |"


def _number(value: Any, unit: str) -> str:
    return f"{value:,.4g} {unit}" if isinstance(value, int | float) else str(value or "-")


def _versions(versions: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else str(versions)


if __name__ == "__main__":
    raise SystemExit(main())
