"""Could a run go on from its last checkpoint? What can be shown of it in seconds, before the checkpoints go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from lamina.contracts.tokens import Batch, BatchStream
from lamina.contracts.trust import Finding, found
from lamina.kit.durable import verify
from lamina.kit.errors import LaminaError
from lamina.model.transformer import Transformer

_WHAT = "the run can go on from its last checkpoint"
_ARRAYS = ("inputs", "targets", "segments", "positions", "sources", "labels")


def check_resume(checkpoints: Path, model: Transformer, stream: BatchStream) -> Finding:
    """The newest checkpoint is whole, its weights are those of ``model`` as training left it (adapters not merged), and
    the stream, put back to its place, gives the batch that it gives now. The place of ``stream`` is kept.

    That the steps from there are the same ones follows from the tests of the loop, not from this.
    """
    folders = sorted(checkpoints.glob("step-*")) if checkpoints.is_dir() else []
    if not folders:
        return found(_WHAT, None, "no checkpoint was written")
    try:
        verify(folders[-1])
        facts: dict[str, Any] = json.loads((folders[-1] / "state.json").read_bytes())
        tensors = load_file(folders[-1] / "state.safetensors")
    except (LaminaError, OSError, ValueError) as error:
        return found(_WHAT, False, f"the newest checkpoint cannot be read: {error}")
    place = stream.state()
    goes_on = next(stream)
    stream.restore(facts["stream"])
    again = next(stream)
    stream.restore(place)
    same_data, same_weights = _same(goes_on, again), _holds(tensors, model)
    best = facts.get("best_step")
    words = [f"step {facts['step']:,}", "every byte as recorded"]
    words.append(f"the next batch is {'the same' if same_data else 'another'}")
    if not same_weights and best not in (None, facts["step"]):
        return found(_WHAT, same_data, "; ".join([*words, f"the run ended with the weights of step {best:,} instead"]))
    words.append("weights equal to the bit" if same_weights else "other weights than the model's")
    return found(_WHAT, same_data and same_weights, "; ".join(words))


def _same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in _ARRAYS if getattr(one, n) is not None)


def _holds(tensors: dict[str, Tensor], model: Transformer) -> bool:
    """Whether the checkpoint has the model's learned weights; of a run that ends with an average, that."""
    kind = "average" if any(name.startswith("average/") for name in tensors) else "weight"
    learned = {name: p for name, p in model.named_parameters() if f"{kind}/{name}" in tensors}
    saved = {name.removeprefix(f"{kind}/") for name in tensors if name.startswith(f"{kind}/")}
    return saved == learned.keys() and all(
        torch.equal(tensors[f"{kind}/{name}"].to(p.dtype), p.detach().cpu()) for name, p in learned.items()
    )
