from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lamina.deployment.texts.batching import Batcher
from lamina.kit.errors import BusyError, InputError, LaminaError


class Recorder:
    """Doubles numbers; notes down the batches. ``held``: waits for ``go``."""

    def __init__(self) -> None:
        self.batches: list[tuple[object, list[int]]] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()

    def __call__(self, group, values):
        self.begun.set()
        self.go.wait(10)
        self.batches.append((group, list(values)))
        if 13 in values:
            raise ValueError("13 cannot be")
        if 14 in values:
            raise InputError("14 must not be")
        return [2 * value for value in values if value != 15]  # of which there is no result


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def batcher(recorder):
    made = Batcher(recorder, name="test", batch_tokens=12, queue_tokens=100, window_s=0.02)
    yield made
    recorder.go.set()
    made.close()


def later(batcher, *asked):
    """Ask in threads of their own; what each got, or its error."""

    def one(each):
        try:
            return batcher.ask(*each)
        except LaminaError as error:
            return error

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(one, asked))


def test_what_comes_together_is_computed_together(batcher, recorder) -> None:
    assert later(batcher, ("a", [1], [3]), ("a", [2], [3]), ("a", [3], [3])) == [[2], [4], [6]]
    ((group, values),) = recorder.batches
    assert group == "a"
    assert sorted(values) == [1, 2, 3]


def test_groups_are_not_mixed_and_batches_are_bounded_with_their_padding(batcher, recorder) -> None:
    assert batcher.ask("a", [1, 2, 3, 4], [2, 8, 2, 3]) == [2, 4, 6, 8]
    assert batcher.ask("b", [5], [50]) == [10], "a long one is computed alone"
    assert [(group, sorted(values)) for group, values in recorder.batches] == [
        ("a", [1, 3, 4]),  # those of like length
        ("a", [2]),
        ("b", [5]),
    ]


def test_what_is_at_fault_fails_alone(batcher, recorder) -> None:
    fine, broken, refused = later(batcher, ("a", [1], [3]), ("a", [13], [3]), ("a", [14], [3]))
    assert fine == [2]
    assert "13 cannot be" in str(broken)
    assert isinstance(refused, InputError)
    assert batcher.ask("a", [7], [1]) == [14], "and the worker goes on"


def test_a_result_that_is_missing_costs_whom_it_concerns(batcher) -> None:
    told: list[str] = []

    def ask() -> None:
        try:
            batcher.ask("a", [15], [3])
        except LaminaError as error:
            told.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(10)
    assert told, "it waits for ever"
    assert "1 items gave 0 results" in told[0]
    assert batcher.ask("a", [7, 8], [1, 1]) == [14, 16], "and the worker goes on"


def test_the_queue_is_bounded(batcher, recorder) -> None:
    recorder.go.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.ask, "a", [1], [5])
        recorder.begun.wait(10)
        second = pool.submit(batcher.ask, "a", [2], [90])
        while batcher.load().waiting == 0:
            pass
        with pytest.raises(BusyError, match="90 tokens of other requests are waiting; the queue holds 100"):
            batcher.ask("a", [3], [11])
        recorder.go.set()
        assert (first.result(), second.result()) == ([2], [4])
    load = batcher.load()
    assert (load.running, load.waiting, load.step_age) == (0, 0, None)


def test_who_waits_is_told_when_it_closes(recorder) -> None:
    batcher = Batcher(recorder, name="test", window_s=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batcher.ask, "a", [1], [5])
        while batcher.load().waiting == 0:
            pass
        batcher.close()
        with pytest.raises(BusyError, match="unloaded"):
            waiting.result()
    with pytest.raises(BusyError, match="unloaded"):
        batcher.ask("a", [1], [5])
