"""``kill -9`` of a whole build, at any moment: the next run ends with the same bytes, and does little of it again."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

_PLUGIN = '''
"""A source and a step that write down which documents they see. Workers find them as they find any plug-in."""
import os
from lamina.data.sources.files import files
from lamina.kit.registry import SOURCES, STEPS

def note(what, batch):
    lines = "".join(f"{what} {id}\\n" for id in batch.column("id").to_pylist()).encode()
    log = os.open(os.environ["SEEN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, lines)
    os.close(log)

@SOURCES("noted-files", kind="divisible")
def noted_files(inbox, *, limit: int | None = None):
    for batch in files(inbox, limit=limit):
        note("read", batch)
        yield batch

@STEPS("noted", kind="transform")
def noted(batch):
    if batch.num_rows:
        note("clean", batch)
    return batch
'''
_ENTRIES = "[lamina.sources]\nnoted-files = noted_plugin\n[lamina.steps]\nnoted = noted_plugin\n"
_CHILD = """
import shutil, sys
from datetime import UTC, datetime
from pathlib import Path
from lamina.contracts.corpus import SourceFile
from lamina.data import collection, cuts, units
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.kit.progress import open_progress

cuts.SMALLEST = 40_000
units.GROUPS = 1
units.LEAST = 64
collection._now = lambda: datetime(2026, 1, 2, tzinfo=UTC)  # the one thing that differs from run to run
folder, rows, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
shutil.rmtree(folder / "out", ignore_errors=True)
(folder / "out").mkdir(parents=True)
steps = [
    {"transform": "normalize"}, {"transform": "noted"}, {"signal": "quality"}, {"decide": "words >= 20"},
    {"pass": "duplicates", "threshold": 0.8},
]
source = SourceInput(name="rows", use="noted-files", files=(SourceFile(name="rows.jsonl", path=rows),), license="MIT")
print("begins", flush=True)
build_corpus(folder / "out", folder / "work", sources=[source], steps=steps, held_out=0.2,
             progress=open_progress("quiet"), workers=workers)
(folder / "done").touch()
"""


def text(i: int) -> str:
    draw = random.Random(i % 600)  # some texts come twice
    words = [f"{draw.choice(['sail', 'net', 'rope', 'leviathan', 'of', 'a'])}{draw.randrange(50)}" for _ in range(60)]
    return " ".join(words[: 60 if i % 7 else 10])


class Builds:
    """Builds of one corpus in child processes."""

    def __init__(self, place: Path, path: str) -> None:
        self.rows = place / "rows.jsonl"
        lines = [orjson.dumps({"id": i % 680, "text": text(i)}) + b"\n" for i in range(700)]
        self.rows.write_bytes(b"".join(lines))
        self.path = path  # where the plug-in is found

    def start(self, folder: Path, workers: int) -> subprocess.Popen[bytes]:
        """A build in ``folder``, which begins now."""
        folder.mkdir(exist_ok=True)
        env = os.environ | {"PYTHONPATH": self.path, "SEEN_LOG": str(folder / "seen.log")}
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(folder), str(self.rows), str(workers)], stdout=subprocess.PIPE, env=env
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"begins\n"
        return child

    def finish(self, folder: Path, workers: int) -> float:
        """A build that is left alone; how long it took (s)."""
        child = self.start(folder, workers)
        begun = time.monotonic()
        assert child.wait(120) == 0
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory, plug_in: Any) -> Builds:
    place = tmp_path_factory.mktemp("builds")
    return Builds(place, plug_in(place / "plug", _PLUGIN, _ENTRIES))


def digests(folder: Path) -> dict[str, str]:
    out = folder / "out"
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in out.rglob("*") if p.is_file()}


def seen(folder: Path) -> Counter[str]:
    return Counter((folder / "seen.log").read_text().split("\n")[:-1])


@pytest.fixture(scope="module")
def whole(builds: Builds, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A build that nobody killed, by two workers, and how long it took (s)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, builds.finish(folder, 2)


@pytest.mark.slow
def test_killed_at_random_moments(builds: Builds, whole: tuple[Path, float], tmp_path: Path) -> None:
    seconds = whole[1]
    wanted, once = digests(whole[0]), seen(whole[0])
    assert {"ledger.parquet", "signals/phase-0.parquet", "dropped.parquet", "report.json"} <= set(wanted)
    assert set(once.values()) == {1, 2}  # an id that is given twice is read twice
    assert sum(1 for name in once if name.startswith("clean")) > 600
    draw = random.Random(11)
    killed = 0
    for number, share in enumerate([draw.uniform(0.1, 0.5), draw.uniform(0.4, 0.9)]):
        folder = tmp_path / f"killed-{number}"
        child = builds.start(folder, 2)
        time.sleep(share * seconds)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        killed += not (folder / "done").exists()
        builds.finish(folder, 1)  # another number of workers goes on just as well
        assert digests(folder) == wanted
        twice = seen(folder)
        assert set(twice) == set(once)
        assert all(twice[name] <= 2 * times for name, times in once.items())
        assert twice.total() < 2 * once.total()
    assert killed


@pytest.mark.parametrize("nth", [4, 25])
def test_killed_as_a_unit_is_published(
    builds: Builds, whole: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    folder = tmp_path / "killed"
    monkeypatch.setenv("LAMINA_FAILPOINT", f"publish.rename:kill:{nth}")
    child = builds.start(folder, 1)
    assert child.wait(120) == -signal.SIGKILL
    before = seen(folder)
    monkeypatch.delenv("LAMINA_FAILPOINT")
    builds.finish(folder, 1)
    again = seen(folder)
    redone = sum(min(times, again[name] - times) for name, times in before.items())
    assert redone <= 150, "what was in hand is done again, and nothing else"
    assert digests(folder) == digests(whole[0]), "another number of workers goes on just as well"
