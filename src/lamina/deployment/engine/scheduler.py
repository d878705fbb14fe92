"""What the next step computes: one token for everybody who decodes, then prompts in chunks, in the queue's order.

When the blocks run out the last in rank (priority, then arrival) gives its own back and is computed anew later
(preemption by recomputation), so the first always gets on and nobody of its priority starves. Who waits goes before
whoever runs with a lower priority.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from lamina.deployment.engine.blocks import BlockManager
from lamina.deployment.engine.roster import Roster
from lamina.deployment.engine.sequence import Sequence, State
from lamina.deployment.engine.waiting import Waiting, rank


@dataclass(slots=True)
class Step:
    """The work of one step: sequences that decode, and (sequence, end) pairs whose prompt is computed up to ``end``."""

    decode: list[Sequence] = field(default_factory=list)
    prefill: list[tuple[Sequence, int]] = field(default_factory=list)


class Scheduler(Roster):
    """``chunk``: prompt tokens computed at once while others decode; ``wide_chunk``: while nobody does.

    Both are multiples of the block size, and chunks end at multiples of them, so that the blocks that sequences share
    are always computed in products of at least one block's rows.
    """

    def __init__(self, blocks: BlockManager, *, max_sequences: int, chunk: int, wide_chunk: int) -> None:
        super().__init__(max_sequences)  # ``running`` is by rank
        self.blocks = blocks
        self._chunk = chunk
        self._wide_chunk = wide_chunk
        self._step = Step()

    def resize(self, *, max_sequences: int | None, chunk: int | None, wide_chunk: int | None) -> None:
        """Other sizes from the next step on; None: as it is. Who runs goes on running."""
        self.most = max_sequences or self.most
        self._chunk, self._wide_chunk = chunk or self._chunk, wide_chunk or self._wide_chunk

    def reset(self) -> None:
        """Forget everybody, whatever state they are in, and free every block."""
        self.running.clear()
        self.waiting = Waiting()
        self.blocks.reset()
        self.pace.waiting(False)

    def schedule(self) -> Step:
        """Choose the next step's work and reserve the blocks for it."""
        step = self._step = Step()
        for sequence in list(self.running):
            if sequence.state is State.RUNNING and sequence.decoding and self._reserve(sequence, len(sequence.tokens)):
                step.decode.append(sequence)
        size = self._chunk if step.decode else self._wide_chunk
        budget = size
        for sequence in list(self.running):
            if sequence in step.decode or sequence.decoding:
                continue
            budget = self._let_in(step, size, budget, before=sequence.priority)
            if sequence.state is State.RUNNING:
                budget = self._plan_chunk(step, sequence, size, budget)
        self._let_in(step, size, budget)
        return step

    def _let_in(self, step: Step, size: int, budget: int, *, before: int | None = None) -> int:
        """Plan chunks of those who wait, of those with a priority ``before`` this one where it is given; returns the
        budget that is left."""
        while budget > 0 and (head := self.waiting.head()) is not None:
            if before is not None and head.priority >= before:
                break
            if self._shared_soon(head) or not self._make_room(head):
                break
            budget = self._plan_chunk(step, head, size, budget)
        return budget

    def _make_room(self, sequence: Sequence) -> bool:
        """Admit the head of the queue, at the price of those who run with a lower priority."""
        while len(self.running) >= self.most or not self._admit(sequence):
            if not self.running or self.running[-1].priority <= sequence.priority:
                return False
            self._preempt(self.running[-1])
        return True

    def _plan_chunk(self, step: Step, sequence: Sequence, size: int, budget: int) -> int:
        """Plan one chunk for ``sequence``; returns the budget that is left. At least one chunk is planned in a step."""
        end = min(len(sequence.tokens), (sequence.computed // size + 1) * size)
        cost = end - sequence.computed
        if step.prefill and cost > budget:
            return 0
        if self._reserve(sequence, end):
            step.prefill.append((sequence, end))
            return budget - cost
        return budget

    def _shared_soon(self, sequence: Sequence) -> bool:
        """Whether a block that ``sequence`` needs next is being computed for another one: it is waited for, so that
        the answers to one prompt compute it once."""
        size = self.blocks.block_tokens
        keys = sequence.keys[: (sequence.prompt_tokens - 1) // size]
        computing = [s for s in self.running if not s.decoding and s.computed < len(s.keys) * size]
        if not keys or not computing:
            return False
        place = self.blocks.known(keys)
        return place < len(keys) and any(
            len(s.keys) > place and s.computed < (place + 1) * size and s.keys[place] == keys[place] for s in computing
        )

    def _admit(self, sequence: Sequence) -> bool:
        """Move the head of the queue to the running, with what the prefix cache has of it, if its prompt fits."""
        whole = (sequence.prompt_tokens - 1) // self.blocks.block_tokens  # at least one token is left to compute
        known = self.blocks.match(sequence.keys[:whole])
        fits = self.blocks.needed(len(sequence.tokens)) - len(known) <= self.blocks.free
        if not fits:
            self.blocks.release(known)
            return False
        self._begin(sequence)
        sequence.blocks = known
        sequence.computed = len(known) * self.blocks.block_tokens
        if not sequence.preemptions:
            sequence.cached_tokens = sequence.computed
        sequence.remembered = len(known)
        insort(self.running, sequence, key=rank)
        return True

    def _free(self, sequence: Sequence) -> None:
        self.blocks.release(sequence.blocks)

    def _reserve(self, sequence: Sequence, tokens: int) -> bool:
        """Blocks for ``tokens`` tokens of ``sequence``, at the price of younger ones; False if it had to go itself."""
        while not self.blocks.extend(sequence.blocks, tokens):
            victim = self.running[-1]
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._step.decode = [s for s in self._step.decode if s is not sequence]
        self._step.prefill = [(s, end) for s, end in self._step.prefill if s is not sequence]
        self.blocks.release(sequence.blocks)
        sequence.computed = 0
        sequence.remembered = 0
        sequence.preemptions += 1
        sequence.state = State.WAITING
        self.waiting.put_back(sequence)
