"""The kernels that add adapters equal torch; without a GPU by Triton's interpreter, where Triton is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from lamina.deployment.engine.adapters import EngineAdapter, Part, add
from lamina.deployment.engine.gpu.slots import MOST_RANK, AdapterSlots

INPUTS, OUTPUTS = 72, (80, 24, 40)  # filled up to 96 inputs; no block is full
COUNTS = (1, 7, 3, 1, 2, 5)  # rows that follow each other and have the same adapter


def made(rank: int, parts: tuple[int, ...], device: torch.device) -> EngineAdapter:
    """An adapter on some of a product's parts."""
    generator = torch.Generator().manual_seed(rank)
    product = []
    for number in parts:
        down = torch.full((rank, 96), float("nan"))  # what is filled up is read by nobody
        down[:, :INPUTS] = torch.randn(rank, INPUTS, generator=generator)
        up = torch.randn(rank, OUTPUTS[number], generator=generator) / rank**0.5
        product.append(Part(down.to(device), up.to(device), sum(OUTPUTS[:number])))
    return EngineAdapter(f"{rank}", (((), tuple(product), (), ()),), rank)


def compare(device: torch.device) -> None:
    """Rows of several adapters and none, by themselves and in tiles, against ``adapters.add``."""
    from lamina.deployment.engine.gpu import low_rank

    four, sixteen, hundred = (made(r, p, device) for r, p in ((4, (0, 2)), (16, (0, 1, 2)), (MOST_RANK - 1, (1,))))
    kinds = [four, sixteen, None, hundred, four, None]
    rows = [kind for kind, count in zip(kinds, COUNTS, strict=True) for _ in range(count)]
    held = AdapterSlots(4, 1, device)
    slots = torch.tensor(held.of(rows), dtype=torch.int32, device=device)
    firsts = [sum(COUNTS[:n]) for n in range(len(COUNTS))]
    tiles = torch.tensor([*zip(firsts, COUNTS, strict=True), (0, 0)], dtype=torch.int32, device=device)
    generator = torch.Generator().manual_seed(0)
    for dtype, rounding in ((torch.float32, 1e-5), (torch.bfloat16, 2**-7)):  # the interpreter cuts bfloat16 off
        x = torch.randn(len(rows), INPUTS, generator=generator).to(device, dtype)
        before = torch.randn(len(rows), sum(OUTPUTS), generator=generator).to(device, dtype)
        adapted = [(slice(n, n + 1), row) for n, row in enumerate(rows) if row is not None]
        wanted = add(adapted, 0, 1, x, before.clone())

        def by_kernels(slots, tiles, x=x, before=before):
            out = before.clone()
            low = torch.full_like(low_rank.room(len(x), 3, device), float("nan"))  # the last step's is read by nobody
            low_rank.add(x, out, low, slots, tiles, held.table[:, 0, 1], parts=3, widest=max(OUTPUTS), tile=7)
            return out

        for together in (tiles[:0], tiles):
            found = by_kernels(slots, together)
            torch.testing.assert_close(found.float(), wanted, rtol=rounding, atol=1e-4)
            plain = [n for n, row in enumerate(rows) if row is None]
            assert torch.equal(found[plain], before[plain])
            assert torch.equal(found[firsts[3], : OUTPUTS[0]], before[firsts[3], : OUTPUTS[0]]), "rank 0"
            others = slots.clone()
            others[firsts[1] :] = others[0]  # the first row's result does not depend on the others
            assert torch.equal(by_kernels(others, together)[0], found[0])
        in_tile = by_kernels(slots, tiles)[firsts[1] + 2]
        moved = torch.tensor([(firsts[1] + 2, 1)], dtype=torch.int32, device=device)
        assert torch.equal(by_kernels(slots, moved)[firsts[1] + 2], in_tile), "nor on the others of its tile"


def test_the_kernels_equal_torch_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    # In a process of its own: whether Triton interprets is settled when it is imported.
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernels_equal_torch() -> None:
    compare(torch.device("cuda"))


if __name__ == "__main__":
    compare(torch.device("cpu"))
