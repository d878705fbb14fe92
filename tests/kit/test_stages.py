from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lamina
from lamina.kit import process_lock
from lamina.kit.durable import publish, read_manifest, remove
from lamina.kit.errors import (
    BusyError,
    ConfigError,
    CorruptError,
    DocumentError,
    NotFoundError,
    StageError,
    StorageError,
)
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop

SRC = str(Path(lamina.__file__).parents[1])

FUNCTIONS = '''
import os, sys, time
from pathlib import Path
from lamina.kit.errors import DocumentError

def count(staging, work, parameters, inputs, progress):
    """Writes one part a step and goes on from the parts that an earlier run left in `work`."""
    with progress.task("count", total=parameters["steps"], unit="steps") as task:
        for step in range(parameters["steps"]):
            part = work / f"{step}.part"
            task.advance(1, step=step)
            if part.exists():
                continue
            part.write_text(str(step))
            with open(parameters["diary"], "a") as diary:
                diary.write(f"{os.getpid()} {step}\\n")
            if parameters.get("stop_at") == step and not Path(parameters["diary"] + ".stopped").exists():
                Path(parameters["diary"] + ".stopped").write_text(str(os.getpid()))
                if parameters.get("how") == "kill":
                    os.kill(os.getpid(), 9)
                time.sleep(60)
    total = sum(int((work / f"{step}.part").read_text()) for step in range(parameters["steps"]))
    (staging / "total.txt").write_text(f"{parameters.get('note', '')}{total}")

def double(staging, work, parameters, inputs, progress):
    (staging / "total.txt").write_text(str(2 * int((inputs["numbers"] / "total.txt").read_text())))

def fail(staging, work, parameters, inputs, progress):
    print("a line for the log")
    (staging / "half").write_text("half")
    if parameters["kind"] == "ours":
        raise DocumentError("no text in it", where="book.epub", hint="is it scanned?")
    if parameters["kind"] == "subclass":
        raise type("Odd", (DocumentError,), {})("odd", where="x")
    if parameters["kind"] == "full":
        raise OSError(28, "No space left on device", "/x/y")
    if parameters["kind"] == "exit":
        sys.exit(3)
    if parameters["kind"] == "abort":
        os.abort()
    raise ValueError("something else")

def where(staging, work, parameters, inputs, progress):
    (staging / "place").write_text(parameters["context"]["place"])

def ask(staging, work, parameters, inputs, progress):
    progress.say("hello from the child")
    with progress.task("outer", total=3, unit="rows") as outer:
        outer.expect(2)
        with progress.task("inner", total=None, unit="files") as inner:
            inner.advance(5)
        outer.advance(2, loss_nats=1.25)
    (staging / "a").write_text("x")
'''


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "their_stage.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([SRC, str(tmp_path / "code")]))
    return tmp_path


@pytest.fixture
def workshop(home):
    return Workshop(home / "state", open_progress("quiet"))


def count(home: Path, **more) -> Stage:
    parameters = {"steps": 4, "diary": str(home / "diary"), **more}
    return Stage(name="count", shelf="counts", function="their_stage:count", parameters=parameters)


def diary(home: Path) -> list[int]:
    return [int(line.split()[1]) for line in (home / "diary").read_text().splitlines()]


def fail(kind: str) -> Stage:
    return Stage(name="fail", shelf="x", function="their_stage:fail", parameters={"kind": kind})


def test_a_stage_runs_once(home, workshop):
    stage = count(home)
    assert not workshop.fresh(stage)
    folder = workshop.run(stage)
    assert folder == workshop.folder(stage) == home / "state" / "counts" / workshop.key(stage)
    assert (folder / "total.txt").read_text() == "6"
    assert "total.txt" in read_manifest(folder)["files"]
    assert workshop.fresh(stage)
    before = time.monotonic()
    assert workshop.run(stage) == folder
    assert time.monotonic() - before < 0.05
    assert diary(home) == [0, 1, 2, 3]
    assert list((home / "state" / "work").iterdir()) == []


def test_what_goes_in_names_the_result(home, workshop):
    stage = count(home)
    same = count(home)
    keys = {workshop.key(stage), workshop.key(count(home, steps=5))}
    versions = Stage(**{**vars(same), "versions": {"language": 2}})
    other_place = Stage(**{**vars(same), "function": "their_stage:double"})
    assert len({*keys, workshop.key(versions)}) == 3
    assert workshop.key(same) in keys
    assert workshop.key(other_place) in keys  # a function that moved did not change


def test_the_context_reaches_the_function_and_names_nothing(home, workshop):
    def where(place: str) -> Stage:
        return Stage(name="where", shelf="x", function="their_stage:where", context={"place": place})

    folder = workshop.run(where("here"))
    assert (folder / "place").read_text() == "here"
    assert workshop.folder(where("there")) == folder
    assert workshop.fresh(where("there"))


def test_a_changed_parameter_makes_it_stale_and_says_so(home, workshop):
    workshop.run(count(home))
    changed = count(home, note="n")
    assert not workshop.fresh(changed)
    condition = workshop.condition(changed)
    assert condition.state == "stale"
    assert condition.why == 'parameters.note was null, is "n"'
    workshop.run(changed)
    assert (workshop.folder(changed) / "total.txt").read_text() == "n6"
    assert workshop.fresh(count(home))  # the earlier result still stands under its own name


def test_a_changed_input_makes_the_next_stage_stale(home, workshop):
    def double(steps: int) -> Stage:
        numbers = workshop.folder(count(home, steps=steps))
        return Stage(name="double", shelf="d", function="their_stage:double", inputs={"numbers": numbers})

    with pytest.raises(NotFoundError, match="'numbers' of stage 'double' is not made yet"):
        workshop.key(double(4))
    assert not workshop.fresh(double(4))
    assert workshop.condition(double(4)).state == "stale"
    workshop.run(count(home, steps=4))
    assert (workshop.run(double(4)) / "total.txt").read_text() == "12"
    workshop.run(count(home, steps=5))
    assert not workshop.fresh(double(5))
    assert "inputs.numbers was" in workshop.condition(double(5)).why


def test_a_damaged_input_is_never_read(home, workshop):
    numbers = workshop.run(count(home))
    before = (numbers / "total.txt").stat()
    (numbers / "total.txt").write_text("7")  # the same size
    os.utime(numbers / "total.txt", ns=(before.st_atime_ns, before.st_mtime_ns))  # and the same time
    with pytest.raises(CorruptError, match=r"total\.txt"):
        workshop.run(Stage(name="double", shelf="d", function="their_stage:double", inputs={"numbers": numbers}))


def test_what_was_read_whole_and_not_touched_since_is_not_read_again(home, workshop, monkeypatch):
    numbers = workshop.run(count(home))
    read = []
    monkeypatch.setattr("lamina.kit.stages.verify", lambda folder: read.append(folder.name))
    double = Stage(name="double", shelf="d", function="their_stage:double", inputs={"numbers": numbers})
    made = workshop.run(double)
    assert read == [made.name]
    monkeypatch.undo()
    remove(made)
    (numbers / "total.txt").write_text("7")
    with pytest.raises(CorruptError):
        workshop.run(double)


def test_a_truncated_result_is_made_again(home, workshop):
    stage = count(home)
    folder = workshop.run(stage)
    (folder / "total.txt").write_text("")
    assert not workshop.fresh(stage)
    assert workshop.condition(stage).why == "its result was deleted or damaged"
    workshop.run(stage)
    assert (folder / "total.txt").read_text() == "6"


def test_a_killed_child_is_named_and_resumed(home, workshop):
    stage = count(home, stop_at=2, how="kill")
    with pytest.raises(StageError, match="killed by SIGKILL") as caught:
        workshop.run(stage)
    assert caught.value.where == str(workshop.log(stage))
    assert not workshop.folder(stage).exists()
    assert workshop.condition(stage).state == "interrupted"
    workshop.run(stage)
    assert diary(home) == [0, 1, 2, 3]  # no step was done twice
    assert (workshop.folder(stage) / "total.txt").read_text() == "6"
    assert [p.name for p in workshop.folder(stage).parent.iterdir()] == [workshop.key(stage)]  # no litter


@pytest.mark.parametrize("point", ["stage.publish", "stage.published"])
def test_a_kill_around_publication_is_survived(home, workshop, monkeypatch, point):
    stage = count(home)
    monkeypatch.setenv("LAMINA_FAILPOINT", f"{point}:kill:1")
    with pytest.raises(StageError, match="SIGKILL"):
        workshop.run(stage)
    monkeypatch.delenv("LAMINA_FAILPOINT")
    assert workshop.fresh(stage) == (point == "stage.published")
    workshop.run(stage)
    assert diary(home) == [0, 1, 2, 3]
    assert list((home / "state" / "work").iterdir()) == []


PARENT = """
import json, sys
from pathlib import Path
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop
parameters = json.loads(sys.argv[2])
stage = Stage(name="count", shelf="counts", function="their_stage:count", parameters=parameters)
Workshop(Path(sys.argv[1]), open_progress("quiet")).run(stage)
"""


def start_parent(home: Path, stage: Stage) -> tuple[subprocess.Popen[bytes], int]:
    command = [sys.executable, "-c", PARENT, str(home / "state"), json.dumps(dict(stage.parameters))]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE)
    stopped = home / "diary.stopped"
    wait_for(lambda: stopped.exists() and stopped.read_text() != "")
    return parent, int(stopped.read_text())


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_child_dies_with_its_parent_and_the_next_run_resumes(home, workshop):
    stage = count(home, stop_at=1)
    parent, child = start_parent(home, stage)
    assert workshop.condition(stage).state == "running"
    with pytest.raises(BusyError, match=f"process {parent.pid} on .*, since 20"):
        workshop.run(stage)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not alive(child), 5)
    assert (
        process_lock.holder(workshop._lock(workshop.key(stage)))["pid"] == parent.pid
    )  # a stale lock file stands there
    workshop.run(stage)
    assert diary(home) == [0, 1, 2, 3]


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_to_the_parent_ends_the_child_first(home, workshop, sent, status):
    stage = count(home, stop_at=1)
    parent, child = start_parent(home, stage)
    parent.send_signal(sent)
    parent.communicate(timeout=15)
    assert not alive(child)
    assert parent.returncode == status
    assert [p.name for p in workshop.folder(stage).parent.iterdir()] == []  # the staging folder was cleaned away
    assert "ended on request" in workshop.log(stage).read_text()
    workshop.run(stage)
    assert diary(home) == [0, 1, 2, 3]


def test_our_errors_come_back_with_their_type(workshop):
    with pytest.raises(DocumentError) as caught:
        workshop.run(fail("ours"))
    assert str(caught.value) == "book.epub: no text in it (is it scanned?)"
    with pytest.raises(DocumentError, match="odd"):
        workshop.run(fail("subclass"))
    assert not workshop.folder(fail("ours")).exists()


def test_other_errors_name_the_log(workshop):
    with pytest.raises(StageError, match="ValueError: something else") as caught:
        workshop.run(fail("other"))
    log = Path(caught.value.where or "")
    assert log == workshop.log(fail("other"))
    text = log.read_text()
    assert "a line for the log" in text
    assert "Traceback" in text


def test_a_full_disk_is_a_storage_error(workshop):
    with pytest.raises(StorageError, match="No space left") as caught:
        workshop.run(fail("full"))
    assert caught.value.where == "/x/y"


@pytest.mark.parametrize(("kind", "words"), [("exit", "ended with status 3"), ("abort", "killed by SIGABRT")])
def test_a_child_that_just_ends_is_an_error(workshop, kind, words):
    with pytest.raises(StageError, match=words):
        workshop.run(fail(kind))
    if kind == "abort":
        assert "their_stage.py" in workshop.log(fail(kind)).read_text()  # the stack at the crash


def test_parameters_must_be_plain(home, workshop):
    stage = Stage(name="x", shelf="x", function="m:f", parameters={"a": float("nan")})
    with pytest.raises(ConfigError, match="plain"):
        workshop.key(stage)


def test_a_function_that_is_not_there_names_the_log(workshop):
    with pytest.raises(StageError, match="their_stage"):
        workshop.run(Stage(name="x", shelf="x", function="their_stage:none"))


def test_the_childs_progress_is_shown_by_the_parent(home):
    out = io.StringIO()
    Workshop(home / "state", open_progress("json", stream=out)).run(
        Stage(name="ask", shelf="x", function="their_stage:ask")
    )
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert events[0] == {"event": "say", "text": "hello from the child"}
    ends = {e["task"]: e for e in events if e["event"] == "end"}
    assert ends["inner"]["done"] == 5
    assert (ends["outer"]["done"], ends["outer"]["total"]) == (2, 2), "the child expected fewer on the way"
    assert ends["outer"]["facts"] == {"loss_nats": 1.25}
    assert ends["outer"]["ok"]


def test_a_task_that_the_child_left_open_is_shown_as_stopped(home):
    out = io.StringIO()
    stage = count(home, stop_at=2, how="kill")
    with pytest.raises(StageError):
        Workshop(home / "state", open_progress("plain", stream=out)).run(stage)
    assert "count: stopped at" in out.getvalue()


def test_a_lock_is_given_back(tmp_path):
    path = tmp_path / "a.lock"
    with process_lock.hold(path, "it"):
        assert process_lock.is_held(path)
        with pytest.raises(BusyError, match="it runs already"), process_lock.hold(path, "it"):
            pass
    assert not process_lock.is_held(path)
    path.write_text('{"torn')
    with process_lock.hold(path, "it"):
        pass


def test_publishing_elsewhere_does_not_disturb(home, workshop):
    with publish(home / "state" / "counts" / "other") as staging:
        workshop.run(count(home))
        (staging / "x").write_text("y")
    assert (home / "state" / "counts" / "other" / "x").read_text() == "y"
