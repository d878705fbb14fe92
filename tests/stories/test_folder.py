"""A team's own folder, one file of it corrupt, becomes a served model whose answer names its source. Real weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

pytestmark = [pytest.mark.material, pytest.mark.slow]
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


@pytest.fixture(scope="module")
def brought_up(
    tmp_path_factory: pytest.TempPathFactory, material: Callable[[str], Path], lamina: Lamina
) -> tuple[Path, str]:
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
    done = lamina("up", "./handbook", "--no-serve", *sets, folder=place, timeout=290)
    return place, done.stdout


def test_what_was_not_read_is_listed_with_its_reason(brought_up: tuple[Path, str]) -> None:
    _, said = brought_up
    assert "broken.epub" in said
    assert "3 of 4 files read" in said
    assert "bits per byte" in said


def test_an_answer_names_its_source_and_ends_by_itself(brought_up: tuple[Path, str], serve: Serve) -> None:
    place, _ = brought_up
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


def resident_mb(address: str) -> float:
    """Memory of the server behind ``address``, found by its command line."""
    port = f"interface.port={address.rsplit(':', 1)[1]}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        if port in (process / "cmdline").read_bytes():
            line = next(x for x in (process / "status").read_text().splitlines() if x.startswith("VmRSS"))
            return int(line.split()[1]) / 1024
    raise AssertionError("the server's process was not found")


def test_killed_in_training_it_goes_on(brought_up: tuple[Path, str]) -> None:
    place, _ = brought_up
    command = [sys.executable, "-m", "lamina", "up", "--no-serve", "--set", "model.train.budget=1s"]
    command += ["--set", "model.train.length=64", "--set", "model.evaluate.tokens=120", "--set", "model.train.seed=7"]
    base = json.loads((place / ".lamina" / "stages" / "base.json").read_text())["recipe"]["parameters"]["location"]
    command += ["--set", f"model.base={json.dumps(base)}"]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "bits per byte" in done.stdout


def test_mistakes_are_one_line_and_no_traceback(brought_up: tuple[Path, str], lamina: Lamina) -> None:
    place, _ = brought_up
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
