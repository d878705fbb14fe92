"""The position-wise feed-forward network, plain or gated."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from lamina.model.spec import Activation, FeedForwardSpec


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _relu2(x: Tensor) -> Tensor:
    """The square of ReLU (arXiv 2109.08668)."""
    return F.relu(x).square()


#: Functions by their names in a specification.
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu2": _relu2,
    "gelu": F.gelu,
    "gelu-tanh": _gelu_tanh,
    "silu": F.silu,
}


class FeedForward(nn.Module):
    """``down(act(up(x)))`` (arXiv 1706.03762), or gated: ``down(act(gate(x)) * up(x))`` (arXiv 2002.05202)."""

    def __init__(self, spec: FeedForwardSpec, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, spec.inner, bias=spec.bias) if spec.gated else None
        self.up = nn.Linear(width, spec.inner, bias=spec.bias)
        self.down = nn.Linear(spec.inner, width, bias=spec.bias)
        self.activation = ACTIVATIONS[spec.activation]

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        inner = self.activation(self.up(x)) if self.gate is None else self.activation(self.gate(x)) * self.up(x)
        out: Tensor = self.down(inner)
        return out
