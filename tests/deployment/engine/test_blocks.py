from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lamina.deployment.engine.blocks import BlockManager
from lamina.kit.errors import LaminaError


def test_a_lone_sequence_lies_in_one_piece() -> None:
    manager = BlockManager(32, 4)
    blocks: list[int] = []
    for tokens in range(1, 100):
        assert manager.extend(blocks, tokens)
    assert blocks == list(range(blocks[0], blocks[0] + 25))


def test_two_sequences_leave_each_other_room_to_grow() -> None:
    manager = BlockManager(32, 4)
    one: list[int] = []
    other: list[int] = []
    for tokens in range(1, 50):
        assert manager.extend(one, tokens)
        assert manager.extend(other, tokens)
    for blocks in (one, other):
        assert blocks == list(range(blocks[0], blocks[0] + len(blocks)))


def test_too_few_blocks_change_nothing() -> None:
    manager = BlockManager(3, 4)
    blocks: list[int] = []
    assert not manager.extend(blocks, 13)
    assert blocks == []
    assert manager.free == 3
    assert manager.extend(blocks, 12)
    assert manager.usage == 1.0


def test_known_prefixes_are_shared_until_their_block_is_taken() -> None:
    manager = BlockManager(4, 2)
    blocks: list[int] = []
    manager.extend(blocks, 4)
    keys = manager.keys([1, 2, 3, 4])
    for block, key in zip(blocks, keys, strict=True):
        manager.remember(block, key)
    kept = list(blocks)
    manager.release(blocks)
    assert manager.match(manager.keys([1, 2, 9, 9])) == kept[:1]
    assert manager.match(manager.keys([1, 2, 3, 4, 5])) == kept
    shared = [kept[0], kept[1]]
    manager.release(shared)
    shared = [kept[0]]
    manager.release(shared)
    everything: list[int] = []
    assert manager.extend(everything, 8)
    assert manager.match(keys) == []


def test_a_shared_beginning_grows_beside_what_the_other_prompt_left() -> None:
    manager = BlockManager(8, 2)
    blocks: list[int] = []
    manager.extend(blocks, 8)
    keys = manager.keys(range(8))
    for block, key in zip(blocks, keys, strict=True):
        manager.remember(block, key)
    manager.release(blocks)
    begun = manager.match(keys[:2])
    assert manager.extend(begun, 6)
    assert manager.known(keys) == 4
    manager.extend(begun, 10)
    assert manager.known(keys) == 4
    manager.extend(begun, 14)  # nothing else is left
    assert manager.known(keys) < 4


def test_another_root_shares_nothing() -> None:
    keys = BlockManager(1, 2, root="v1").keys([1, 2]), BlockManager(1, 2, root="v2").keys([1, 2])
    assert keys[0] != keys[1]


def test_a_salt_keeps_prefixes_apart() -> None:
    manager = BlockManager(4, 2)
    blocks: list[int] = []
    manager.extend(blocks, 4)
    for block, key in zip(blocks, manager.keys([1, 2, 3, 4], salt="mine"), strict=True):
        manager.remember(block, key)
    for other in ({}, {"salt": "yours"}, {"of": "mine"}, {"of": "a", "salt": "mine"}, {"of": "mine", "salt": "mine"}):
        assert manager.known(manager.keys([1, 2, 3, 4], **other)) == 0, other
    assert manager.known(manager.keys([1, 2, 3, 4], salt="mine")) == 2


def test_what_nobody_knows_is_withdrawn_first() -> None:
    manager = BlockManager(8, 2)
    old, new, running, nameless = [], [], [], []
    for blocks, tokens in ((old, [1, 2]), (new, [3, 4]), (nameless, [5]), (running, [6, 7])):
        assert manager.extend(blocks, len(tokens))
        if len(tokens) == 2:
            manager.remember(blocks[0], manager.keys(tokens)[0])
    places = {"old": old[0], "new": new[0], "nameless": nameless[0], "running": running[0]}
    for blocks in (old, new, nameless):
        manager.release(blocks)
    assert manager.touched == 4
    manager.restrict(4)
    assert manager.given() == [], "four had never been written to"
    manager.restrict(3)
    assert manager.given() == [places["nameless"]]
    manager.restrict(2)
    assert manager.given() == [places["old"]], "the longest unused"
    assert manager.known(manager.keys([3, 4])) == 1
    manager.restrict(1)
    assert (manager.given(), manager.free) == ([places["new"]], 0)
    extra: list[int] = []
    assert not manager.extend(extra, 2)
    manager.restrict(8)
    assert manager.extend(extra, 14), "all but the one that runs"
    manager.restrict(3)
    assert (manager.given(), manager.usage) == ([], 1.0)
    manager.release(extra)
    assert (len(manager.given()), manager.free, manager.touched) == (5, 2, 3), "those in use go as they fall free"
    manager.check([running])


def test_a_double_release_is_an_error() -> None:
    manager = BlockManager(2, 2)
    blocks: list[int] = []
    manager.extend(blocks, 2)
    again = list(blocks)
    manager.release(blocks)
    with pytest.raises(LaminaError, match="twice"):
        manager.release(again)
    with pytest.raises(LaminaError, match="holders"):
        manager.check([again])


class Blocks(RuleBasedStateMachine):
    """Random sequences over a small alphabet come, grow, are known, and go."""

    @initialize(blocks=st.integers(1, 12), size=st.integers(1, 3))
    def start(self, blocks: int, size: int) -> None:
        self.manager = BlockManager(blocks, size)
        self.held: list[tuple[list[int], list[int]]] = []
        self.content: dict[int, tuple[int, ...]] = {}  # what a block's owner last wrote into it

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=12))
    def arrive(self, tokens: list[int]) -> None:
        size = self.manager.block_tokens
        keys = self.manager.keys(tokens)
        blocks = self.manager.match(keys)
        for index, block in enumerate(blocks):
            assert self.content[block] == tuple(tokens[: (index + 1) * size]), "a hit holds other tokens"
        known = len(blocks)
        if not self.manager.extend(blocks, len(tokens)):
            self.manager.release(blocks)
            return
        for index in range(known, len(keys)):
            self.content[blocks[index]] = tuple(tokens[: (index + 1) * size])
            self.manager.remember(blocks[index], keys[index])
        for block in blocks[len(keys) :]:
            self.content[block] = ()
        self.held.append((blocks, tokens))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.held:
            blocks, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.manager.release(blocks)
            assert blocks == []

    @rule(data=st.data(), more=st.integers(1, 4))
    def grow(self, data: st.DataObject, more: int) -> None:
        if self.held:
            blocks, tokens = self.held[data.draw(st.integers(0, len(self.held) - 1))]
            before = len(blocks)
            if self.manager.extend(blocks, len(tokens) + more):
                tokens += [2] * more
            for block in blocks[before:]:
                self.content[block] = ()

    @rule(limit=st.integers(1, 12))
    def restrict(self, limit: int) -> None:
        self.manager.restrict(limit)
        self.give()

    def give(self) -> None:
        given = self.manager.given()
        assert not {block for blocks, _ in self.held for block in blocks} & set(given), "memory that is in use"
        for block in given:
            self.content[block] = (9,)  # whoever still finds it finds something else

    @invariant()
    def conserved(self) -> None:
        if hasattr(self, "manager"):
            self.manager.check([blocks for blocks, _ in self.held])
            used = {block for blocks, _ in self.held for block in blocks}
            self.give()
            assert self.manager.free == max(0, self.manager.limit - len(used)), "as many as may be used, no more"
            assert self.manager.touched <= max(self.manager.limit, len(used))


Blocks.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBlocks = Blocks.TestCase
