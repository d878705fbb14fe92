"""The row "quality" of bench_train.py: bits per byte of the same held-out text after the same time, ours and nanoGPT's.

Both sides learn from the training split of examples/gpt-from-scratch's corpus and are measured on its held-out split,
three seeds each. By the clock, in turns, on a machine that does nothing else; or with ``--steps-from FILE``: the speeds
of both sides are read from FILE (measured and written there first, where it is missing), and each gets the steps that
the time holds at its speed, so that what else the machine does while it trains changes nothing. Each run that has
ended is kept beside the texts (``runs.json``), so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import machine, versions_of  # beside this file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDER = ROOT / ".cache" / "bench" / "quality"
_ROUNDS = 3  # of measuring speeds


def _said(script: str, *arguments: object) -> dict[str, Any]:
    """What a side prints last."""
    command = [sys.executable, str(HERE / script), str(FOLDER), *map(str, arguments)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def _run(script: str, *arguments: object) -> dict[str, Any]:
    """What a side prints last; from ``runs.json`` where this run has ended before."""
    file = FOLDER / "runs.json"
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    name = " ".join(map(str, (script, *arguments)))
    if name not in kept:
        kept[name] = _said(script, *arguments)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        part.replace(file)
    return dict(kept[name])


def _speeds(file: Path) -> dict[str, Any]:
    """From the file, or measured in turns."""
    if not file.exists():
        ours, theirs = [], []
        for _ in range(_ROUNDS):
            ours.append(_said("quality_ours.py", "speed"))
            theirs.append(_said("quality_nanogpt.py", 0, "rate", 0)["steps_per_s"])
        speed = {name: statistics.median(one[name] for one in ours) for name in ours[0]}
        told = {"ours": speed, "nanogpt_steps_per_s": statistics.median(theirs), "machine": machine()}
        file.write_text(json.dumps(told, indent=1) + "\n")
    return dict(json.loads(file.read_text()))


def rows(*, seconds: float, seeds: int, steps_from: Path | None) -> list[dict[str, Any]]:
    """The row."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("lamina.toml", "lamina.lock"):
        shutil.copyfile(ROOT / "examples" / "gpt-from-scratch" / name, FOLDER / name)
    data = _said("quality_ours.py", "data")
    speeds = None if steps_from is None else _speeds(steps_from)
    ours, theirs = [], []
    for seed in range(1, seeds + 1):
        if speeds is None:
            ours.append(_run("quality_ours.py", seed, seconds))
            theirs.append(_run("quality_nanogpt.py", seed, "seconds", seconds))
            continue
        given = f"{speeds['ours']['fixed']},{speeds['ours']['each']}"
        ours.append(_run("quality_ours.py", seed, seconds, given))
        theirs.append(_run("quality_nanogpt.py", seed, "steps", round(seconds * speeds["nanogpt_steps_per_s"])))
    mine, other = ([run["bits_per_byte"] for run in side] for side in (ours, theirs))
    way = "by the clock" if speeds is None else f"in the steps of {seconds:.0f} s at speeds measured before"
    return [
        {
            "work": f"quality, cpu, {seconds / 60:.3g} minutes {way}, {data['bytes'] / 1e6:.1f} MB of text",
            "peer": "nanoGPT's recipe for a processor, characters",
            "ours": statistics.mean(mine),
            "theirs": statistics.mean(other),
            "ratio": statistics.mean(other) / statistics.mean(mine),
            "unit": "bits per byte",
            "runs": seeds,
            "spread": f"{min(mine):.3f}-{max(mine):.3f} against {min(other):.3f}-{max(other):.3f}",
            "quality": f"{data['held_out']:,} bytes held out; {ours[0]['shape']}, {ours[0]['steps']:,} steps "
            f"against {theirs[0]['steps']:,}",
            "versions": versions_of("lamina", "torch"),
            "machine": machine() if speeds is None else f"{machine()}; speeds of {speeds['machine']}",
        }
    ]
