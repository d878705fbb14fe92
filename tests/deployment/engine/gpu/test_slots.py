"""Which slot an adapter gets, what the table says of it, and what a step is given: no GPU is needed for these."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lamina.deployment.engine.adapters import EngineAdapter, Part
from lamina.deployment.engine.gpu.graphs import GraphDecoder, _Given
from lamina.deployment.engine.gpu.slots import AdapterSlots, entries, shapes
from lamina.deployment.engine.place import Piece, Place

CPU = torch.device("cpu")


def some_adapter(key: str, *, rank: int = 2, layers: int = 2) -> EngineAdapter:
    """With query and value alone, and nothing on the other products."""
    qkv = tuple(Part(torch.ones(rank, 32), torch.ones(rank, 8), begin) for begin in (0, 12))
    return EngineAdapter(key, ((qkv, (), (), ()),) * layers, rank)


def test_an_adapter_keeps_its_slot() -> None:
    slots = AdapterSlots(3, 2, CPU)
    a, b = some_adapter("a"), some_adapter("b")
    first = slots.of([a, None, b, a])
    assert first[0] == first[3] != first[2]
    assert first[1] == -1
    assert slots.of([None, None]) == [-1, -1]
    assert slots.of([b, a]) == [first[2], first[0]]
    for adapter, slot in ((a, first[0]), (b, first[2])):
        assert torch.equal(slots.table[slot], entries(adapter))


def test_the_slot_of_one_that_is_gone_is_taken_first() -> None:
    slots = AdapterSlots(3, 2, CPU)
    a, b, c = (some_adapter(key) for key in "abc")
    _, _, last = slots.of([a, b, c])
    slots.of([c])
    del c
    d = some_adapter("d", rank=5)
    assert slots.of([d]) == [last]
    assert torch.equal(slots.table[last], entries(d))


def test_then_that_of_the_one_used_longest_ago_and_never_of_this_step() -> None:
    slots = AdapterSlots(2, 2, CPU)
    a, b, c, d = (some_adapter(key) for key in "abcd")
    first, second = slots.of([a, b])
    slots.of([a])
    assert slots.of([c, a]) == [second, first], "b was used longest ago"
    assert slots.of([d, c]) == [first, second], "a was used last, but c is in this step"
    assert slots.of([b, a]) in ([first, second], [second, first])
    for _ in range(5):  # all slots change hands at once
        assert sorted(slots.of([a, b])) == sorted(slots.of([c, d])) == [0, 1]


def test_an_adapter_that_lost_its_slot_does_not_find_it_again() -> None:
    slots = AdapterSlots(1, 2, CPU)
    a, b = some_adapter("a"), some_adapter("b")
    for adapter in (a, b, a):
        assert slots.of([adapter]) == [0]
        assert torch.equal(slots.table[0], entries(adapter))


def test_what_the_table_says_of_an_adapter() -> None:
    adapter = some_adapter("a", rank=3)
    found = entries(adapter)
    assert found.shape == (2, 4, 3, 6)
    query, value = adapter.parts[0][0]
    for index, part in enumerate((query, value)):
        told = [part.down.data_ptr(), part.up.data_ptr(), 3, 32, part.begin, 8]
        assert found[1, 0, index].tolist() == told
    assert not found[:, 0, 2].any()
    assert not found[:, 1:].any()
    odd = Part(torch.ones(32, 3).t(), torch.ones(3, 8), 0)
    with pytest.raises(ValueError, match="not float32 in rows"):
        entries(EngineAdapter("odd", (((odd,), (), (), ()),), 3))
    with pytest.raises(ValueError, match="of rank 129"):
        entries(some_adapter("large", rank=129))


def test_parts_of_a_product_and_the_widest() -> None:
    assert shapes([0, 12, 16], 20) == (3, 12)
    assert shapes([0, 40], 80) == (2, 40)
    assert shapes([0], 64) == (1, 64)


def test_a_step_is_given_the_slots_of_its_rows() -> None:
    given = _Given(rows=12, sequences=3, tiles=8, pages=4, spare=9, device=CPU)
    pieces = [Piece([5], Place([2], 3)), Piece([1, 2, 3, 4, 5], Place([0, 1], 0)), Piece([7, 8], Place([3], 0), False)]
    assert given.fill(pieces, [1, -1, 0], tile=3) == 2
    given.device.copy_(given.host)
    tokens, positions, owners, adapters, wanted, tiles, tables = given.on_device
    assert tokens.tolist() == [5, 1, 2, 3, 4, 5, 7, 8, 0, 0, 0, 0]
    assert positions.tolist()[:8] == [3, 0, 1, 2, 3, 4, 0, 1]
    assert owners.tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    assert adapters.tolist() == [1, -1, -1, -1, -1, -1, 0, 0, -1, -1, -1, -1]
    assert wanted.tolist()[:2] == [0, 5]
    assert tiles.tolist() == [[0, 1], [1, 3], [4, 2], [6, 2], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert tables.tolist() == [[2, 0, 0, 0], [0, 1, 0, 0], [3, 0, 0, 0], [9, 0, 0, 0]]
    given.fill([Piece([5], Place([2], 3))], [2], tile=3)
    assert given.adapters.tolist() == [2, *[-1] * 11]


def test_a_capture_that_fails_is_told_and_sends_adapters_through_torch(monkeypatch, caplog) -> None:
    decoder = GraphDecoder.__new__(GraphDecoder)  # its own making needs a GPU
    decoder._without_adapters, decoder._low_rank = False, SimpleNamespace()
    step = SimpleNamespace(
        adapted=None, scratch=None, given=SimpleNamespace(device=torch.ones(1), blank=torch.zeros(1))
    )

    def fail(*_: object) -> None:
        raise RuntimeError("no memory is left")

    monkeypatch.setattr(decoder, "_record", fail)
    assert decoder.knows(some_adapter("a"))
    with pytest.raises(RuntimeError, match="no memory"):
        decoder._adapted(step)
    assert "through torch" in caplog.text
    assert not decoder.knows(some_adapter("a"))
    assert decoder.knows(None)
