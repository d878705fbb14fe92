"""The data layer against its peers: `python benchmarks/bench_data.py [rules|duplicates …] [--quick] [--json]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `lamina` itself sets it

NAMES = ("rules", "duplicates", "html", "tokenize", "augment")


def main() -> int:
    """Run the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object a row")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        for row in importlib.import_module(f"data_{name}").rows(quick=arguments.quick, runs=arguments.runs):
            ratio = f"{row['ratio']:.1f} ({row['spread']})" if "ratio" in row else "-"
            words = f"{row['work']} | {row['peer']} | {row['ours']:.4g} | {row.get('theirs')} {row['unit']} | {ratio}"
            sys.stdout.write((json.dumps(row) if arguments.json else f"{words} | {row.get('quality', '')}") + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
