"""Runs with compiled blocks against one without: `compiled_steps.py FOLDER`, in a process that nothing else has used.

The compiler keeps state for a process, which other tests in it would share.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import torch

from lamina.model.train import compiled

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, make, run = counting.Texts, counting.make, counting.run


def main(work: Path) -> None:
    """Raises where they differ."""
    one, two = make(), make()
    run(one, work / "one")
    compiled._GAIN = 0.0  # so small a model gains nothing
    result = run(two, work / "two", compile="always", checkpoint_steps=6)
    assert result.compiled, json.loads((work / "two" / "plan.json").read_text())["compiling"]
    again = make()
    run(again, work / "two", Texts(), compile="always", checkpoint_steps=6)
    for a, b, c in zip(one.parameters(), two.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert torch.equal(b, c)
    assert all(block._compiled_call_impl is None for block in two.stack.blocks)  # it leaves as it came


if __name__ == "__main__":
    main(Path(sys.argv[1]))
