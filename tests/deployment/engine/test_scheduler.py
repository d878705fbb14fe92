from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.blocks import BlockManager
from lamina.deployment.engine.pace import Pace
from lamina.deployment.engine.sampling import Sampler
from lamina.deployment.engine.scheduler import Scheduler
from lamina.deployment.engine.sequence import Sequence, State, StopText


def sequence(
    number: int, prompt: int, answer: int, manager: BlockManager, alike: bool = False, key: str = "", priority: int = 0
) -> Sequence:
    tokens = [1 if alike else number] * prompt
    made = Sequence(
        id=str(number),
        prompt_tokens=prompt,
        tokens=tokens,
        sampler=Sampler.settle(SamplingParams(), {}),
        max_tokens=answer,
        end_ids=frozenset(),
        decoder=None,  # type: ignore[arg-type]
        stop=StopText(()),
        deliver=lambda _: None,
        loop=None,
        version="v1",
        key=key,
        priority=priority,
    )
    made.keys = manager.keys(tokens)
    return made


def perform(scheduler: Scheduler, manager: BlockManager, wide: int) -> list[Sequence]:
    """Do a step without a model; the sequences that ended."""
    step = scheduler.schedule()
    assert len({id(s) for s in step.decode} | {id(s) for s, _ in step.prefill}) == len(step.decode) + len(step.prefill)
    assert sum(end - s.computed for s, end in step.prefill) <= wide or len(step.prefill) == 1
    for one in step.decode:
        assert one.state is State.RUNNING
        assert one.remaining == 1
        assert len(one.blocks) * manager.block_tokens >= len(one.tokens)
        one.computed += 1
        one.tokens.append(0)
    for one, end in step.prefill:
        assert one.state is State.RUNNING
        assert one.computed < end <= len(one.tokens)
        assert len(one.blocks) * manager.block_tokens >= end
        one.computed = end
        full = min(end, one.prompt_tokens) // manager.block_tokens
        for index in range(one.remembered, full):
            manager.remember(one.blocks[index], one.keys[index])
        one.remembered = max(one.remembered, full)
        if end == len(one.tokens):
            one.tokens.append(0)
    done = [s for s in scheduler.running if s.generated >= s.max_tokens]
    for one in done:
        scheduler.remove(one)
    return done


@settings(max_examples=80, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=10),
    aborts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=4),
    blocks=st.integers(11, 30),
    most=st.integers(1, 6),
    alike=st.booleans(),
)
def test_everybody_gets_on_and_every_block_comes_back(requests, aborts, blocks, most, alike) -> None:
    manager = BlockManager(blocks, 4)
    scheduler = Scheduler(manager, max_sequences=most, chunk=4, wide_chunk=8)
    everybody = [sequence(n, prompt, answer, manager, alike) for n, (prompt, answer) in enumerate(requests)]
    for one in everybody:
        scheduler.add(one)
    finished: list[Sequence] = []
    for step in range(3000):
        if not scheduler.running and not scheduler.waiting:
            break
        for when, who in aborts:
            if when == step and who < len(everybody):
                scheduler.remove(everybody[who])
        finished += perform(scheduler, manager, 8)
        assert len(scheduler.running) <= most
        manager.check([s.blocks for s in scheduler.running])
        order = [everybody.index(s) for s in scheduler.running]
        assert order == sorted(order), "first come, first served"
    assert all(s.state is State.FINISHED for s in everybody), "somebody starved"
    assert manager.free == manager.total
    aborted = {who for _, who in aborts}
    for n, one in enumerate(everybody):
        assert n in aborted or one.generated == one.max_tokens


def test_decoding_comes_before_prompts() -> None:
    manager = BlockManager(40, 4)
    scheduler = Scheduler(manager, max_sequences=4, chunk=4, wide_chunk=16)
    first, second = sequence(0, 8, 10, manager), sequence(1, 40, 10, manager)
    scheduler.add(first)
    perform(scheduler, manager, 16)
    scheduler.add(second)
    for _ in range(4):
        before = second.computed
        step = scheduler.schedule()
        assert step.decode == [first]
        assert step.prefill == [(second, before + 4)]
        first.computed += 1
        first.tokens.append(0)
        second.computed = before + 4


requests = st.tuples(
    st.integers(1, 30), st.integers(1, 12), st.sampled_from("abc"), st.integers(-1, 1), st.integers(0, 30)
)


@settings(max_examples=80, deadline=None)
@given(
    given=st.lists(requests, min_size=1, max_size=12),
    aborts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 11)), max_size=5),
    blocks=st.integers(11, 30),
    most=st.integers(1, 6),
    alike=st.booleans(),
)
def test_keys_priorities_aborts_and_preemptions_leak_no_block(given, aborts, blocks, most, alike) -> None:
    """Random arrivals over time; whoever runs is in rank's order, and all come to their end."""
    manager = BlockManager(blocks, 4)
    scheduler = Scheduler(manager, max_sequences=most, chunk=4, wide_chunk=8)
    everybody = [
        sequence(n, prompt, answer, manager, alike, key, priority)
        for n, (prompt, answer, key, priority, _) in enumerate(given)
    ]
    for step in range(4000):
        for one, (*_, arrival) in zip(everybody, given, strict=True):
            if arrival == step:
                scheduler.add(one)
        for when, who in aborts:
            if when == step and who < len(everybody) and everybody[who].turn:
                scheduler.remove(everybody[who])
        if step > 40 and not scheduler.running and not scheduler.waiting:
            break
        perform(scheduler, manager, 8)
        manager.check([s.blocks for s in scheduler.running])
        assert len(scheduler.running) <= most
        ranks = [(s.priority, s.turn) for s in scheduler.running]
        assert ranks == sorted(ranks)
        waiting = list(scheduler.waiting)
        assert len(waiting) == len(scheduler.waiting)
        assert scheduler.waiting.tokens == sum(len(s.tokens) for s in waiting)
        assert not any(s.blocks for s in waiting)
    assert all(s.state is State.FINISHED for s in everybody), "somebody starved"
    assert manager.free == manager.total
    gone = {who for _, who in aborts}
    assert all(s.generated == s.max_tokens for n, s in enumerate(everybody) if n not in gone)


def order_of(scheduler: Scheduler, manager: BlockManager) -> list[str]:
    """The keys in the order in which their sequences are taken up."""
    seen: dict[int, str] = {}
    while scheduler.running or scheduler.waiting:
        perform(scheduler, manager, 64)
        for one in scheduler.running:
            seen.setdefault(one.turn, one.key)
    return list(seen.values())


def test_a_key_that_asks_much_does_not_hold_the_others_up() -> None:
    manager = BlockManager(400, 4)
    scheduler = Scheduler(manager, max_sequences=1, chunk=64, wide_chunk=64)
    for number in range(40):
        scheduler.add(sequence(number, 100, 2, manager, key="greedy"))
    for number in range(3):
        scheduler.add(sequence(number + 50, 100, 2, manager, key="modest"))
    order = order_of(scheduler, manager)
    places = [place for place, key in enumerate(order) if key == "modest"]
    assert places[-1] < 12, "after one turn of the other key, not after its forty"
    assert len(order) == 43


def test_turns_are_counted_in_tokens() -> None:
    manager = BlockManager(2000, 4)
    scheduler = Scheduler(manager, max_sequences=1, chunk=512, wide_chunk=512)
    for number in range(30):
        scheduler.add(sequence(number, 500, 2, manager, key="long"))
        scheduler.add(sequence(number + 40, 50, 2, manager, key="short"))
    first = order_of(scheduler, manager)[:33]
    assert first.count("long") <= 4, "ten short ones for one long"


def test_answers_are_paid_for_too() -> None:
    manager = BlockManager(2000, 4)
    scheduler = Scheduler(manager, max_sequences=1, chunk=512, wide_chunk=512)
    for number in range(20):
        scheduler.add(sequence(number, 8, 600, manager, key="talker"))
        scheduler.add(sequence(number + 40, 8, 8, manager, key="listener"))
    order = order_of(scheduler, manager)
    assert order[20:].count("talker") > 15, "the listener's are done first"


def test_priority_goes_before_arrival_and_takes_a_slot() -> None:
    manager = BlockManager(40, 4)
    scheduler = Scheduler(manager, max_sequences=2, chunk=8, wide_chunk=16)
    low = [sequence(n, 8, 10, manager, priority=1) for n in range(2)]
    for one in low:
        scheduler.add(one)
    perform(scheduler, manager, 16)
    assert scheduler.running == low
    urgent, same = sequence(5, 8, 3, manager), sequence(6, 8, 3, manager, priority=1)
    scheduler.add(same)
    scheduler.add(urgent)
    perform(scheduler, manager, 16)
    assert scheduler.running == [urgent, low[0]]
    assert low[1].preemptions == 1
    while urgent.state is not State.FINISHED:
        perform(scheduler, manager, 16)
    perform(scheduler, manager, 16)
    assert scheduler.running == low, "who was preempted comes before new ones of its priority"
    manager.check([s.blocks for s in scheduler.running])


def test_a_long_prompt_lets_an_urgent_one_pass() -> None:
    manager = BlockManager(60, 4)
    scheduler = Scheduler(manager, max_sequences=4, chunk=8, wide_chunk=8)
    long, urgent, same = (
        sequence(n, size, 3, manager, priority=p) for n, size, p in ((1, 160, 1), (2, 8, 0), (3, 8, 1))
    )
    scheduler.add(long)
    perform(scheduler, manager, 8)
    scheduler.add(same)
    scheduler.add(urgent)
    assert [one for one, _ in scheduler.schedule().prefill] == [urgent], "before the rest of the long one"
    while urgent.state is not State.FINISHED:
        perform(scheduler, manager, 8)
    assert 8 < long.computed < 160, "which goes on beside its answer"
    assert same.state is State.WAITING, "who is as urgent as the long one comes after it"
    manager.check([s.blocks for s in scheduler.running])


def test_pace_says_when_there_will_be_room() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert pace.seconds(50) == pytest.approx(2.0), "nothing is known yet"
    pace.waiting(True)
    for _ in range(10):
        now[0] += 0.5
        pace.took(40)
    assert pace.rate() == pytest.approx(80.0)
    assert pace.seconds(160) == pytest.approx(2.0)
    now[0] += 5.0  # nobody was taken up: it is slower than it seemed
    assert pace.seconds(160) == pytest.approx(4.0)
    pace.waiting(False)
    now[0] += 1000.0
    pace.waiting(True)
    assert pace.seconds(160) == pytest.approx(4.0), "time without a queue does not count"
    now[0] += 7.0
    pace.took(1)
    assert pace.seconds(1) == pytest.approx(7.0, abs=0.1), "as long as the longest pause"
    now[0] += 53.0
    pace.took(600)
    assert pace.rate() == pytest.approx(20.0), "over the last half minute"
