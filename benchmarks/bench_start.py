"""How soon things stand, against the limits that the project set itself: `bench_start.py [help] [import] [--json]`.

`help`: `lamina --help`; `import`: `import lamina`; each as a whole process, the interpreter's own start included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from machine import machine  # beside this file

import lamina

PYTHON = sys.executable
LIMITS = {"help": 0.2, "import": 0.1}
COMMANDS = {"help": [PYTHON, "-m", "lamina", "--help"], "import": [PYTHON, "-c", "import lamina"]}


def seconds(command: list[str]) -> float:
    """Wall clock of one process."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "NO_COLOR": "1"})
    return time.perf_counter() - start


def main() -> int:
    """Print a row for each of the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs = 5 if arguments.quick else 15
    for name in arguments.rows or list(COMMANDS):
        seconds(COMMANDS[name])
        times = [seconds(COMMANDS[name]) for _ in range(runs)]
        row = {
            "work": name,
            "peer": "limit",
            "ours": statistics.median(times),
            "theirs": LIMITS[name],
            "ratio": LIMITS[name] / statistics.median(times),
            "unit": "s",
            "runs": runs,
            "spread": f"{min(times):.3f}-{max(times):.3f} s",
            "quality": "",
            "versions": {"lamina": lamina.__version__, "python": sys.version.split()[0]},
            "machine": machine(),
        }
        sys.stdout.write(
            (json.dumps(row) if arguments.json else f"{name}: {row['ours']:.3f} s of {row['theirs']} s") + "\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
