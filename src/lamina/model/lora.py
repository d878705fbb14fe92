"""Low-rank adapters (LoRA, arXiv 2106.09685): added to a model, trained, merged, and exchanged in PEFT's format.

An adapter on the head of a tied model changes the head alone: merging it unties the model, so that the merged model
computes what the adapted one did.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.kit.errors import ConfigError, ModelFileError
from lamina.model.adapters import CONFIG, PREFIX, WEIGHTS, read_adapter
from lamina.model.families import family_of_spec
from lamina.model.layers.hollow import hollow
from lamina.model.layers.precision import lowered
from lamina.model.transformer import Transformer

#: The linear layers that an adapter may stand on, by the last part of their names.
TARGETS = ("q", "k", "v", "o", "gate", "up", "down", "head")
DEFAULT_TARGETS = ("q", "k", "v", "o", "gate", "up", "down")


class LoraLinear(nn.Linear):
    """A frozen linear layer plus ``alpha / rank · up(down(x))``; ``down`` (r, in), ``up`` (out, r) starts at zero."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        with hollow():  # the base's weights take their place
            super().__init__(base.in_features, base.out_features, bias=False)
        self.weight, self.bias = base.weight, base.bias
        self.rank, self.alpha = rank, alpha
        self.lora_down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))
        self._cast: tuple[int, int, Tensor] | None = None

    @property
    def scale(self) -> float:
        """What the low-rank product is multiplied by."""
        return self.alpha / self.rank

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        base = F.linear(x, self._frozen(), self.bias)
        low = F.linear(x, self.lora_down) * self.scale
        return torch.addmm(base.flatten(0, -2), low.flatten(0, -2), self.lora_up.t()).view(base.shape)

    def _frozen(self) -> Tensor:
        """The base's weight as autocast would cast it, which it would do anew in each step for what is not trained."""
        weight = self.weight
        if weight.requires_grad or torch.compiler.is_compiling() or not torch.is_autocast_enabled(weight.device.type):
            return weight
        state = weight.data_ptr(), weight._version
        if self._cast is None or self._cast[:2] != state:
            self._cast = (*state, lowered(weight.detach()))
        return self._cast[2]

    def merged(self) -> Tensor:
        """The weight (out, in) of the plain layer that computes the same."""
        product = (self.lora_up.double() @ self.lora_down.double()) * self.scale
        return (self.weight.double() + product).to(self.weight.dtype)


def add_lora(
    model: Transformer, *, rank: int = 8, alpha: float = 16.0, targets: tuple[str, ...] = DEFAULT_TARGETS
) -> list[str]:
    """Freeze the model and put adapters on the ``targets``; returns the names of the layers that got one.

    The new weights are drawn from torch's generator; until they are trained the model computes what it did.
    """
    if rank < 1 or alpha <= 0:
        raise ConfigError(f"rank {rank} and alpha {alpha} must be above zero", where="lora")
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown or not targets:
        raise ConfigError(
            f"no such targets: {', '.join(unknown) or '(none given)'}", where="lora.targets", hint=", ".join(TARGETS)
        )
    names = [name for name, module in model.named_modules() if _wanted(name, module, targets)]
    if not names:
        raise ConfigError("none of the targets is in this model", where="lora.targets", hint=", ".join(targets))
    head = model.spec.head
    if "head" in names and head is not None and (head.transform or head.scale != 1.0):
        raise ConfigError(
            "a head with a transform or a scale (BERT's, T5's) takes no adapter",
            where="lora.targets",
            hint="leave out 'head'",
        )
    model.requires_grad_(False)
    for name in names:
        base = model.get_submodule(name)
        if isinstance(base, LoraLinear) or not isinstance(base, nn.Linear):
            raise ConfigError(f"'{name}' has an adapter already", where="lora", hint="merge it first")
        model.set_submodule(name, LoraLinear(base, rank, alpha))
    return names


def _wanted(name: str, module: nn.Module, targets: tuple[str, ...]) -> bool:
    return isinstance(module, nn.Linear) and name.rpartition(".")[2] in targets


def lora_layers(model: Transformer) -> Iterator[tuple[str, LoraLinear]]:
    """The adapted layers, by name."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def lora_parameters(model: Transformer) -> list[nn.Parameter]:
    """The adapters' weights."""
    return [p for _, layer in lora_layers(model) for p in (layer.lora_down, layer.lora_up)]


@torch.no_grad()
def merge_lora(model: Transformer) -> Transformer:
    """Fold the adapters into the weights, in place; every parameter may be trained again. Returns the model."""
    for name, layer in list(lora_layers(model)):
        with hollow():
            plain = nn.Linear(layer.in_features, layer.out_features, bias=False)
        plain.weight, plain.bias = nn.Parameter(layer.merged()), layer.bias
        model.set_submodule(name, plain)
        if name == "head" and model.spec.head and model.spec.head.tied:
            model.spec = dataclasses.replace(model.spec, head=dataclasses.replace(model.spec.head, tied=False))
    model.requires_grad_(True)
    return model


def save_lora(model: Transformer, folder: Path, *, base: str | None = None) -> None:
    """Write the adapters as PEFT does: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises ``ModelFileError`` where an adapted layer is only a part of a tensor of the family (GPT-2's fused query,
    key and value).
    """
    layers = dict(lora_layers(model))
    if not layers:
        raise ConfigError("the model has no adapters", where=str(folder))
    names = _their_names(model, list(layers))
    one = next(iter(layers.values()))
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        tensors[f"{PREFIX}{names[name]}.lora_A.weight"] = layer.lora_down.detach().contiguous()
        tensors[f"{PREFIX}{names[name]}.lora_B.weight"] = layer.lora_up.detach().contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": one.rank,
        "lora_alpha": one.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": family_of_spec(model.spec)[0].model_type == "gpt2",
        "target_modules": sorted({names[name].rpartition(".")[2] for name in layers}),
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def load_lora(model: Transformer, folder: Path) -> None:
    """Add the adapters of a PEFT folder to the model. Raises ``ModelFileError`` naming what does not fit."""
    found = read_adapter(folder, model.spec)
    model.requires_grad_(False)
    for name, part in found.layers.items():
        base = model.get_submodule(name)
        if not isinstance(base, nn.Linear) or isinstance(base, LoraLinear):
            raise ConfigError(f"'{name}' has an adapter already", where=str(folder), hint="merge it first")
        layer = LoraLinear(base, found.rank, part.scale * found.rank)
        layer.lora_down.data.copy_(part.down)
        layer.lora_up.data.copy_(part.up)
        model.set_submodule(name, layer)


def _their_names(model: Transformer, names: list[str]) -> dict[str, str]:
    """Our layers' names to the family's."""
    family, _ = family_of_spec(model.spec)
    found: dict[str, str] = {}
    for name in names:
        layer = re.search(r"\.(\d+)\.", name)
        pattern = re.sub(r"\.\d+\.", ".{i}.", name, count=1) + ".weight"
        rule = next((r for r in family.rules if r.ours == (pattern,)), None)
        if rule is None:
            raise ModelFileError(
                f"'{name}' is a part of a fused tensor in {family.model_type} files; PEFT has no form for that",
                where="lora",
                hint="merge the adapter and save the whole model",
            )
        found[name] = rule.theirs.replace("{i}", layer[1] if layer else "").removesuffix(".weight")
    return found
