"""Worker processes: order, errors as themselves, a child that dies, an end in the middle of the work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lamina.kit.errors import DocumentError, StageError
from lamina.kit.workers import Workers, cores

WORK = """
import os, time
from lamina.kit.errors import DocumentError

def square(payload):
    return {"n": payload["n"] ** 2, "pid": os.getpid(), "threads": os.environ["POLARS_MAX_THREADS"]}

def refuse(payload):
    if payload["n"] == 3:
        raise DocumentError("is torn", where="page 3", hint="read another")
    return payload["n"]

def processors(payload):
    from lamina.kit.workers import cores
    return cores()

def stumble(payload):
    raise KeyError("n")

def die(payload):
    os._exit(7)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work_of_tests.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("work_of_tests", None)


def test_results_come_in_the_order_of_the_payloads_from_several_processes() -> None:
    with Workers(2) as workers:
        found = list(workers.map("work_of_tests:square", ({"n": n} for n in range(40))))
    assert [f["n"] for f in found] == [n * n for n in range(40)]
    assert os.getpid() not in {f["pid"] for f in found}
    assert {f["threads"] for f in found} == {"1"}


def test_a_worker_counts_on_one_processor() -> None:
    with Workers(2) as workers:
        assert list(workers.map("work_of_tests:processors", [{}, {}, {}])) == [1, 1, 1]
    assert cores() >= 1


def test_one_worker_is_this_process() -> None:
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    with Workers(1) as workers:
        assert next(workers.map("work_of_tests:square", [{"n": 5}]))["pid"] == os.getpid()


def test_an_error_arrives_as_itself_behind_the_results_before_it() -> None:
    with Workers(2) as workers:
        found = workers.map("work_of_tests:refuse", ({"n": n} for n in range(8)))
        assert [next(found) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DocumentError, match="page 3: is torn") as caught:
            next(found)
        assert caught.value.hint == "read another"
        assert list(workers.map("work_of_tests:refuse", [{"n": 9}])) == [9], "the pool is still of use"


def test_what_nobody_foresaw_and_a_death_are_named() -> None:
    with Workers(2) as workers:
        with pytest.raises(StageError, match="KeyError: 'n'"):
            list(workers.map("work_of_tests:stumble", [{}]))
        with pytest.raises(StageError, match="ended with status 7"):
            list(workers.map("work_of_tests:die", [{}]))
        assert [f["n"] for f in workers.map("work_of_tests:square", [{"n": 3}])] == [9]
