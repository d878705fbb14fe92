"""What moves the weights: AdamW, or Muon for the matrices of the blocks with AdamW for the rest; and their average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lamina.model.train.parameters import TrainParameters


class Optimizer:
    """Several optimizers of different parameters as one, with what the loop and checkpoints need of it."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self._parts = parts
        self.state = _State(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """All groups; a change of a group's ``lr`` holds from the next step on."""
        return [group for part in self._parts for group in part.param_groups]

    def step(self) -> None:
        """Move the weights by their gradients."""
        for part in self._parts:
            part.step()

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=set_to_none)


class _State(MutableMapping[nn.Parameter, dict[str, Tensor]]):
    """What is remembered of each parameter, by the part that moves it."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self._parts = parts
        self._owner = {p: part for part in parts for group in part.param_groups for p in group["params"]}

    def __getitem__(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = self._owner[parameter].state
        if parameter not in state:  # torch's would make an empty one
            raise KeyError(parameter)
        found: dict[str, Tensor] = state[parameter]
        return found

    def __setitem__(self, parameter: nn.Parameter, values: dict[str, Tensor]) -> None:
        self._owner[parameter].state[parameter] = values

    def __delitem__(self, parameter: nn.Parameter) -> None:
        del self._owner[parameter].state[parameter]

    def __iter__(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter, part in self._owner.items() if parameter in part.state)

    def __len__(self) -> int:
        return sum(len(part.state) for part in self._parts)


def make_optimizer(weights: Mapping[str, nn.Parameter], parameters: TrainParameters, device: torch.device) -> Optimizer:
    """AdamW (arXiv 1711.05101) in one fused kernel, with weight decay on matrices only.

    With ``optimizer = "muon"`` the matrices of the blocks move by Muon (Jordan et al. 2024), their steps scaled so that
    AdamW's learning rate and weight decay fit (arXiv 2502.16982); embeddings, head, norms and biases stay with AdamW.
    """
    turned = [n for n, p in weights.items() if parameters.optimizer == "muon" and p.ndim == 2 and ".blocks." in n]
    rest = {name: p for name, p in weights.items() if name not in set(turned)}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest.values() if p.ndim >= 2], "weight_decay": parameters.weight_decay},
        {"params": [p for p in rest.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    parts: list[torch.optim.Optimizer] = []
    if rest:
        parts.append(
            torch.optim.AdamW(
                [group for group in groups if group["params"]],
                lr=parameters.learning_rate,
                betas=(parameters.beta1, parameters.beta2),
                fused=device.type in ("cpu", "cuda"),
            )
        )
    if turned:
        parts.append(
            torch.optim.Muon(
                [weights[name] for name in turned],
                lr=parameters.learning_rate,
                weight_decay=parameters.weight_decay,
                momentum=parameters.momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return Optimizer(parts)


class Average:
    """The exponential moving average of the weights (Polyak and Juditsky 1992), which a run may end with.

    ``decay``: the share of the old average that a step keeps; in the first steps less, so that the start is forgotten.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self._weights, self._decay = weights, decay
        self.values = {name: parameter.detach().clone() for name, parameter in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        keep = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._weights.items():
            self.values[name].lerp_(parameter, 1 - keep)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The average as the weights, for the length of the block."""
        own = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._weights.items():
                    parameter.copy_(own[name])

    @torch.no_grad()
    def put(self) -> None:
        """Make the average the weights."""
        for name, parameter in self._weights.items():
            parameter.copy_(self.values[name])
