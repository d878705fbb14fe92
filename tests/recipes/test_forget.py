"""``lamina data forget`` over a whole state folder: corpus, passages, shards, chat rows, models; killed anywhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.shards import Shards
from lamina.data.tokenizer.train import train_tokenizer
from lamina.kit.durable import is_published, verify
from lamina.kit.errors import BusyError, CorruptError, InputError, NotFoundError
from lamina.kit.process_lock import hold
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes.corpus_tools import explain
from lamina.recipes.current import Current, recall, remember
from lamina.recipes.forget import finish, forget
from lamina.recipes.ngrams import ngrams_stage
from lamina.recipes.plan import Plan
from lamina.recipes.removals import removals
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.status import open_registry, status

WORDS = [f"sea{i}" for i in range(900)]
STACK = """
name = "harbour"

[[data.sources]]
use = "files"
from = "docs"
name = "docs"

[[data.steps]]
transform = "normalize"
[[data.steps]]
pass = "duplicates"
plant = 0

[model]
base = "base"

[model.train]
steps = 1
"""


def prose(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=60)).capitalize() + "."


def rows() -> list[dict[str, Any]]:
    made = [{"title": f"Place {i}", "text": prose(i), "author": f"Person {i}"} for i in range(30)]
    made[4]["text"] = f"{prose(4)} An unmistakable quokka lived there for a long time."
    made[4]["author"] = "Jane Doe"
    return made


def make(folder: Path) -> Stack:
    """A stack with everything but a training run, and a version that learned from its corpus."""
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "places.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (folder / "lamina.toml").write_text(STACK)
    table = pa.Table.from_pylist([{"id": "x", "source": "s", "text": prose(1)}], schema=DOCUMENTS)
    (folder / "seen" / "data").mkdir(parents=True)
    pq.write_table(table, folder / "seen" / "data" / "train-0.parquet")
    train_tokenizer(folder / "seen", folder / "base", vocabulary=300)
    (folder / "base" / "config.json").write_text("{}")
    stack = open_stack(folder / "lamina.toml")
    plan = Plan(stack, Workshop(stack.state, open_progress("quiet")), open_progress("quiet"))
    for stage in ("corpus", "base", "tokens", "passages"):
        plan.workshop.run(getattr(plan, stage))
    keys = {name: plan.workshop.key(getattr(plan, name)) for name in ("corpus", "base", "tokens", "passages")}
    remember(stack, Current(**keys))
    with open_registry(stack) as registry:
        registry.add(folder / "base", role="documents", corpus=keys["corpus"], run="run-1")
    return stack


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forget") / "stack"
    make(folder)
    shutil.copytree(folder / ".lamina", folder.with_name("state"))
    return folder


@pytest.fixture
def stack(made: Path) -> Stack:
    """The stack as it was made; it stays in its place, which its base is known by."""
    shutil.rmtree(made / ".lamina")
    shutil.copytree(made.with_name("state"), made / ".lamina")
    (made / "docs" / "more.txt").unlink(missing_ok=True)
    return open_stack(made / "lamina.toml")


def yes(words: str) -> bool:
    return True


def said(stack: Stack) -> str:
    """All that lies in the state folder, unpacked."""
    found = []
    for path in stack.state.rglob("*"):
        if path.suffix == ".parquet":
            found.append(json.dumps(pq.read_table(path).to_pylist(), default=str))
        elif path.is_file() and path.suffix != ".log":
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(found)


def tokens_say(stack: Stack) -> str:
    from lamina.kit.tokenizer import open_tokenizer

    current = recall(stack)
    tokenizer = open_tokenizer(stack.state / "bases" / str(current.base))
    folder = stack.state / "tokens" / str(current.tokens)
    return "".join(tokenizer.decode(Shards(part).stream.tolist()) for part in folder.iterdir() if part.is_dir())


def settled(stack: Stack) -> None:
    """The state of a removal that was carried through: nothing of it anywhere, and all that stands is whole."""
    assert "quokka" not in said(stack)
    current = recall(stack)
    for shelf, name in (("corpora", current.corpus), ("passages", current.passages), ("tokens", current.tokens)):
        folders = [folder for folder in (stack.state / shelf).iterdir() if not folder.name.startswith(".")]
        assert [folder.name for folder in folders] == [name]
        verify(folders[0])
    assert "quokka" not in tokens_say(stack)
    assert "sea1" in tokens_say(stack)
    assert [row["state"] for row in removals(stack)] == ["done"]
    plan = Plan(stack, Workshop(stack.state, open_progress("quiet")), open_progress("quiet"))
    assert [plan.workshop.condition(getattr(plan, s)).state for s in ("corpus", "tokens", "passages")] == ["fresh"] * 3
    assert not list((stack.state / "removals").glob("*.unfinished"))


def test_everything_follows_and_a_signed_manifest_tells_it(stack: Stack) -> None:
    learned = stack.state / "vectors" / "learned"  # word vectors, of the tokens
    learned.mkdir(parents=True)
    plan = Plan(stack, Workshop(stack.state, open_progress("quiet")), open_progress("quiet"))
    counted = plan.workshop.run(ngrams_stage(plan.workshop.folder(plan.tokens)))
    remember(stack, replace(recall(stack), vectors=learned.name, ngrams=counted.name))
    assert {row["stage"]: row["state"] for row in status(stack, as_json=True)["stages"]}["ngrams"] == "fresh"
    before = recall(stack)
    assert "quokka" in said(stack)
    assert "quokka" in tokens_say(stack)
    name = forget(stack, authors=["jane doe"], dry_run=True, as_json=True)["documents"][0]["id"]
    shown = forget(stack, authors=["jane doe"], dry_run=True)
    assert "1 documents go: 1 named" in shown
    assert recall(stack) == before
    assert not (stack.state / "tombstones.jsonl").exists()
    with pytest.raises(InputError, match="reason"):
        forget(stack, authors=["jane doe"], confirm=yes)
    with pytest.raises(InputError, match="not confirmed"):
        forget(stack, authors=["jane doe"], because="asked", confirm=lambda words: False)
    words = forget(stack, authors=["jane doe"], because="asked by mail", confirm=yes)
    settled(stack)
    assert "v1" in words
    [row] = removals(stack)
    manifest = row["manifest"]
    [facts] = manifest["corpora"]
    assert (facts["old"], facts["documents"]) == (before.corpus, {"named": 1})
    assert facts["new"] == recall(stack).corpus
    assert manifest["artefacts"]["tokens"] == {before.tokens: recall(stack).tokens}
    assert recall(stack).vectors is None
    assert not learned.exists()
    assert recall(stack).ngrams is None
    assert not counted.exists()
    assert manifest["artefacts"]["passages"] == {before.passages: recall(stack).passages}
    assert (manifest["versions"], manifest["runs"]) == (["v1"], ["run-1"])
    assert "Jane" not in json.dumps(manifest)
    assert "stale: learned from documents that were forgotten" in status(stack, as_json=False)
    assert status(stack, as_json=True)["versions"][0]["stale"]
    with pytest.raises(NotFoundError, match="was forgotten"):
        explain(stack, name)
    place = stack.state / "removals" / f"{row['id']}.json"
    place.write_text(place.read_text().replace('"named": 1', '"named": 0'))
    with pytest.raises(CorruptError, match="signature"):
        removals(stack)


POINTS = ("forget.decide", "publish.rename", "forget.current", "forget.deleted")


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_it_is_the_old_state_or_the_next_run_goes_on(stack: Stack, point: str) -> None:
    before = recall(stack)
    code = (
        "import sys; from pathlib import Path; from lamina.recipes.stack import open_stack;"
        "from lamina.recipes.forget import forget;"
        "forget(open_stack(Path(sys.argv[1])), authors=['Jane Doe'], because='asked', confirm=lambda words: True)"
    )
    died = subprocess.run(
        [sys.executable, "-c", code, str(stack.file)],
        env={**os.environ, "LAMINA_FAILPOINT": f"{point}:kill:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    if point == "forget.decide":  # nothing was decided
        assert recall(stack) == before
        assert is_published(stack.state / "corpora" / str(before.corpus))
        assert removals(stack) == []
        forget(stack, authors=["Jane Doe"], because="asked", confirm=yes)
    else:
        assert [row["state"] for row in removals(stack)] == ["pending"]
        assert "interrupted" in status(stack, as_json=False)
        finish(stack, open_progress("quiet"))
    settled(stack)
    [row] = removals(stack)
    assert row["manifest"]["versions"] == ["v1"]
    assert row["manifest"]["artefacts"]["tokens"]


def test_a_corpus_that_is_in_use_but_stale_is_derived_too(stack: Stack) -> None:
    (stack.folder / "docs" / "more.txt").write_text(prose(99))
    before = recall(stack)
    forget(stack, authors=["Jane Doe"], because="asked", confirm=yes)
    current = recall(stack)
    assert current.corpus != before.corpus
    assert is_published(stack.state / "corpora" / str(current.corpus))
    assert is_published(stack.state / "passages" / str(current.passages))
    assert current.tokens is None  # written anew by the next `lamina up`
    assert "quokka" not in said(stack)


def test_what_nobody_knows_is_refused_and_so_is_a_busy_stack(stack: Stack) -> None:
    with pytest.raises(NotFoundError, match="no document"):
        forget(stack, ids=["no such document"], dry_run=True)
    with hold(stack.state / "locks" / "x.lock", "a stage"), pytest.raises(BusyError, match="stage"):
        forget(stack, authors=["Jane Doe"], dry_run=True)
    assert forget(stack) == "nothing was forgotten"
