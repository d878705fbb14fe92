from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.blocks import BlockManager
from lamina.deployment.engine.sampling import Sampler
from lamina.deployment.engine.scheduler import Scheduler
from lamina.deployment.engine.sequence import Sequence, State, StopText


def sequence(number: int, prompt: int, answer: int, manager: BlockManager, alike: bool = False) -> Sequence:
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


@settings(max_examples=150, deadline=None)
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
