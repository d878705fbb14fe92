"""``kill -9`` in the middle of augmentation: the same command again gives the data set that an unharmed build gives."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

_PLUGIN = '''
"""An augmenter that writes down whose children it makes and, where it is told to, stops in the middle."""
import os, time
from datetime import UTC, datetime
from pathlib import Path
from functools import partial
from lamina.data import collection, corpus_files, units
from lamina.data.augment.eda import swap
from lamina.data.parts import PartWriter
from lamina.kit.registry import AUGMENTERS

corpus_files.PartWriter = partial(PartWriter, group=60)
units.LEAST = 60
collection._now = lambda: datetime(2026, 1, 2, tzinfo=UTC)  # the one thing that differs from run to run

@AUGMENTERS("noted_swap", version=1)
def noted_swap(batch, *, copies: int = 1, seed: int = 0, alpha: float = 0.1):
    if batch.num_rows > 1:  # and not to check the parameters
        place = Path(os.environ["NOTED"])
        hold = place / "hold"
        if hold.exists() and (place / "seen").exists():  # a unit is done, the next one is in hand
            (place / "held.tmp").write_text(str(os.getpid()))
            (place / "held.tmp").rename(place / "held")
            time.sleep(60)
        with (place / "seen").open("a") as log:
            log.write("".join(f"{id}\\n" for id in batch.column("id").to_pylist()))
    return swap(batch, copies=copies, seed=seed, alpha=alpha)
'''
_ENTRIES = "[lamina.augmenters]\nnoted = noted_plugin\n"
_STACK = """name = "x"
[data]
workers = 1
steps = []
[data.augmentation]
max_share = 0.4
[[data.sources]]
use = "files"
from = "rows.jsonl"
language = "en"
[[data.augment]]
use = "noted_swap"
alpha = 0.3
"""
_COMMAND = "from lamina.cli import main; main()"


def text(number: int) -> str:
    draw = random.Random(number)
    return " ".join(f"{draw.choice(['sail', 'net', 'rope', 'deck'])}{draw.randrange(90)}" for _ in range(20)) + "."


class Builds:
    """``lamina data build`` of one stack, each in a state folder of its own."""

    def __init__(self, place: Path, path: str) -> None:
        self.place = place
        (place / "lamina.toml").write_text(_STACK)
        lines = [json.dumps({"id": n, "text": text(n)}) + "\n" for n in range(600)]
        (place / "rows.jsonl").write_text("".join(lines))
        self.path = path  # where the plug-in is found

    def start(self, folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        env = os.environ | {"PYTHONPATH": self.path, "NOTED": str(folder)}
        words = ["data", "build", "--stack", str(self.place / "lamina.toml")]
        words += ["--set", f"state={folder / 'state'}"]
        command = [sys.executable, "-c", _COMMAND, *words]
        return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, folder: Path) -> Path:
        """Let a build end; the corpus."""
        command = self.start(folder)
        _, err = command.communicate(timeout=120)
        assert command.returncode == 0, err
        (corpus,) = (folder / "state" / "corpora").iterdir()
        return corpus


def digests(corpus: Path) -> dict[str, str]:
    files = [p for p in corpus.rglob("*") if p.is_file()]
    return {str(p.relative_to(corpus)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def seen(folder: Path) -> Counter[str]:
    return Counter((folder / "seen").read_text().split())


def held(folder: Path) -> int:
    """The process that builds, once augmentation is in its middle."""
    for _ in range(600):
        if (folder / "held").exists():
            return int((folder / "held").read_text())
        time.sleep(0.1)
    raise AssertionError("augmentation did not begin")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory, plug_in: Any) -> Builds:
    place = tmp_path_factory.mktemp("builds")
    return Builds(place, plug_in(place / "plug", _PLUGIN, _ENTRIES))


def test_killed_in_the_middle_the_same_command_goes_on(builds: Builds, tmp_path: Path) -> None:
    whole = builds.finish(tmp_path / "whole")
    wanted, once = digests(whole), seen(tmp_path / "whole")
    assert len(once) > 500
    assert set(once.values()) == {1}

    folder = tmp_path / "killed"
    folder.mkdir()
    (folder / "hold").touch()
    command = builds.start(folder)
    os.kill(held(folder), signal.SIGKILL)  # the process that builds; the command sees it die
    _, complaint = command.communicate(timeout=60)
    assert command.returncode > 0
    assert "was killed by SIGKILL" in complaint
    assert "run it again: it goes on from where it stopped" in complaint
    assert not list((folder / "state").glob("corpora/*/manifest.json"))
    before = seen(folder)
    assert 50 < len(before) < len(once), "in the middle: some units are done, and not all"

    (folder / "hold").unlink()

    again = builds.finish(folder)
    assert again.name == whole.name
    assert digests(again) == wanted
    assert seen(folder) == once, "what was done is not done again"
