"""Who goes to vLLM next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.admission import Admission, Standing
from lamina.deployment.engine.room import Room
from lamina.deployment.engine.sequence import Sequence, State
from lamina.deployment.vllm.line import Line
from lamina.kit.errors import QueueFullError


@pytest.fixture
def sequence(tiny_tokenizer) -> Callable[..., Sequence]:
    """``sequence(name, tokens, …)``: one in the queue, ``…`` as in ``Standing``."""
    admission = Admission(tiny_tokenizer, version="v1", context=1000, vocabulary=80, generation={})

    def make(name: str, tokens: int = 10, **standing) -> Sequence:
        given = Standing(**standing)
        return admission.sequence(name, [1] * tokens, SamplingParams(), lambda item: None, None, None, given)

    return make


def names(line: Line) -> list[str]:
    """Those that may go now, in their order."""
    found = []
    while (taken := line.take()) is not None:
        found.append(taken.id)
    return found


def test_no_more_than_there_is_room_for(sequence) -> None:
    line, all_of_them = Line(2), [sequence(f"r{i}") for i in range(4)]
    for one in all_of_them:
        line.add(one)
    assert names(line) == ["r0", "r1"]
    assert [one.state for one in all_of_them] == [State.RUNNING] * 2 + [State.WAITING] * 2
    line.remove(all_of_them[1])
    assert names(line) == ["r2"]
    line.remove(all_of_them[3])  # gives up waiting
    line.remove(all_of_them[0])
    assert (names(line), len(line.waiting), line.waiting.tokens) == ([], 0, 0)
    line.remove(all_of_them[0])  # once is enough
    assert [one.id for one in line.running] == ["r2"]


def test_priorities_come_first_and_keys_take_turns(sequence) -> None:
    line = Line(1)
    for i in range(3):
        line.add(sequence(f"a{i}", 400, key="a"))
    line.add(sequence("b0", 400, key="b"))
    line.add(sequence("urgent", priority=-1))
    order = []
    while (taken := line.take()) is not None:
        order.append(taken.id)
        line.remove(taken)
    assert order[0] == "urgent"
    assert order.index("b0") < order.index("a2")


def test_a_full_queue_refuses_as_with_the_own_engine(sequence) -> None:
    line = Line(1)
    room = Room(line, 50, None)
    for i in range(2):
        room.admit("", 20)
        line.add(sequence(f"r{i}", 20))
    with pytest.raises(QueueFullError):
        room.admit("", 20)
    assert names(line) == ["r0"]
    room.admit("", 20)
