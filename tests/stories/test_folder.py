"""A team's own folder, one file of it corrupt, becomes a served model whose answer names its source. Real weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

pytestmark = pytest.mark.material
IDLE_S, IDLE_WINDOWS = 6.0, 3  # the quietest counts: other processes make a wakeup dear
Lamina = Callable[..., Any]
Serve = Callable[..., AbstractContextManager[str]]

TIDES = (
    "The tide mill of Skerrow was built in 1743 by the miller Anselm Thorne. It stands on the river Ouzel, a mile "
    "above the harbour, and grinds barley at every ebb. Its great wheel is made of oak and measures seven metres.\n\n"
)
WARDEN = (
    "# The warden\n\nThe warden of the Skerrow tide mill is Petra Lind. She opens the sluice twice a day and keeps the "
    "log of the mill. Visitors are welcome on Saturdays from ten to four.\n"
)
PAGE = (
    "<html lang=en><head><title>Skerrow ferry</title></head><body><main><h1>Skerrow ferry</h1>{}</main></body></html>"
)
FERRY = (
    "<p>The ferry of Skerrow crosses the Ouzel every twenty minutes from dawn to dusk, and carries bicycles free.</p>"
)


@dataclass(frozen=True)
class BroughtUp:
    """The team's folder after a first run that was killed while it trained, and a second one that was not."""

    place: Path
    killed: str
    said: str
    kept: dict[str, int]  # when the stages that had ended by then were made (ns)


@pytest.fixture(scope="module")
def brought_up(tmp_path_factory: pytest.TempPathFactory, material: Callable[[str], Path], lamina: Lamina) -> BroughtUp:
    place = tmp_path_factory.mktemp("team")
    folder = place / "handbook"
    folder.mkdir()
    (folder / "mill.txt").write_text(TIDES * 4)
    (folder / "warden.md").write_text(WARDEN)
    (folder / "ferry.html").write_text(PAGE.format(FERRY * 4))
    (folder / "broken.epub").write_bytes(b"PK\x03\x04 this is no book")
    settings = {
        "model.base": json.dumps(str(material("smollm2"))),
        "model.train.budget": "1s",
        "model.train.length": "64",
        "model.evaluate.tokens": "120",
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    killed = killed_in_training(["up", "./handbook", "--no-serve", *sets], place)
    done = made(place)
    return BroughtUp(place, killed, lamina("up", "--no-serve", *sets, folder=place, timeout=290).stdout, done)


def killed_in_training(arguments: list[str], place: Path) -> str:
    """What the command said until it was killed in its training, whose plan it had told."""
    with (place / "first.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "lamina", *arguments], cwd=place, stdout=log, stderr=log)
        try:
            while "\nplan: " not in (place / "first.log").read_text():
                assert process.poll() is None, (place / "first.log").read_text()
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
    return (place / "first.log").read_text()


def made(place: Path) -> dict[str, int]:
    return {file.stem: file.stat().st_mtime_ns for file in (place / ".lamina" / "stages").glob("*.json")}


def test_what_was_not_read_is_listed_with_its_reason(brought_up: BroughtUp) -> None:
    assert "broken.epub" in brought_up.killed
    assert "3 of 4 files read" in brought_up.killed


def test_killed_in_training_it_goes_on(brought_up: BroughtUp) -> None:
    assert "bits per byte" in brought_up.said
    after = made(brought_up.place)
    assert {"corpus", "tokens", "base"} <= set(brought_up.kept)
    assert "training" not in brought_up.kept
    assert "training" in after
    assert list((brought_up.place / ".lamina" / "ngrams").glob("*/ngrams.bin")), "by which the server guesses"
    # The base is served and measured before the training, its successor after it, under the same names.
    kept = {name: when for name, when in brought_up.kept.items() if name not in ("served", "evaluation")}
    assert {name: after[name] for name in kept} == kept, "what had ended is not done again"


def test_an_answer_names_its_source_and_ends_by_itself(brought_up: BroughtUp, serve: Serve) -> None:
    place = brought_up.place
    with serve(place) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        answer = client.chat.completions.create(
            model="champion",
            messages=[{"role": "user", "content": "Who is the warden of the Skerrow tide mill?"}],
            temperature=0,
        )
        assert "Petra Lind" in (answer.choices[0].message.content or "")
        assert answer.choices[0].finish_reason == "stop"
        sources = answer.model_extra["sources"]  # type: ignore[index]
        assert sources[0]["title"] == "The warden"
        document = httpx.get(f"{address}/v1/documents/{sources[0]['document_id']}").json()
        assert "opens the sluice" in document["text"]
        parts = client.chat.completions.create(
            model="champion",
            messages=[{"role": "user", "content": "What is the capital of Peru?"}],
            stream=True,
            max_tokens=20,
        )
        said = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
        assert said.startswith("Nothing about this was found in the documents.")
        assert resident_mb(address) < 1000
        time.sleep(1)  # threads that spin for a next step have gone to sleep
        quietest = min(spent_while_idle(address) for _ in range(IDLE_WINDOWS))
        assert quietest <= 0.01 * IDLE_S + 0.01, f"{quietest:.2f} s of processor time in {IDLE_S} s without a request"


def spent_while_idle(address: str) -> float:
    """Processor time in ``IDLE_S`` seconds in which nobody asks."""
    before = processor_s(address)
    time.sleep(IDLE_S)
    return processor_s(address) - before


def process_of(address: str) -> Path:
    """The server's folder in /proc, found by its command line."""
    port = f"interface.port={address.rsplit(':', 1)[1]}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        if port in (process / "cmdline").read_bytes():
            return process
    raise AssertionError("the server's process was not found")


def resident_mb(address: str) -> float:
    """Memory of the server behind ``address``."""
    status = (process_of(address) / "status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def processor_s(address: str) -> float:
    """Processor time that the server behind ``address`` took so far, all threads together."""
    user, system = (process_of(address) / "stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_mistakes_are_one_line_and_no_traceback(brought_up: BroughtUp, lamina: Lamina) -> None:
    place = brought_up.place
    for arguments, words in (
        (["up", "--set", "model.trian.steps=3"], "did you mean 'train'"),
        (["up", "--stack", "nowhere.toml"], "no such file"),
        (["up", "./handbook"], "stands already"),
        (["trace", "chatcmpl-unknown"], "nothing is known"),
        (["serve", "--set", "interface.host=0.0.0.0"], "key"),
    ):
        done = lamina(*arguments, folder=place, check=False)
        assert done.returncode == 2, (arguments, done.stderr)
        assert words in done.stderr
        assert "Traceback" not in done.stderr
