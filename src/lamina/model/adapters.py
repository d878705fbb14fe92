"""Low-rank adapters as PEFT writes them, read and checked: matrices by the model's own layers, no model needed for it.

The folder has ``adapter_config.json`` and ``adapter_model.safetensors`` (LoRA, arXiv 2106.09685, and its scaling by the
root of the rank, arXiv 2312.03732). A tensor that is several of our layers at once (GPT-2's query, key and value) is
taken apart. Nothing is guessed: what would be computed otherwise than by PEFT is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from lamina.kit.errors import ModelFileError, TooLargeError
from lamina.model.families import family_of_spec
from lamina.model.families.weights import Rule
from lamina.model.layers.hollow import hollow
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
_SHOWN = 8  # names listed in an error
_MOST_CONFIG, _MOST_WEIGHTS = 1 << 20, 1 << 31  # bytes
_KEY = re.compile(re.escape(PREFIX) + r"(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
#: What PEFT can do beside plain LoRA, and would compute otherwise.
_BEYOND = (
    "use_dora",
    "use_qalora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layer_replication",
    "lora_bias",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "target_parameters",
)


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """``scale * up @ down`` is added to a layer's weight (out, in); ``down`` (r, in), ``up`` (out, r)."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Adapter:
    """``layers`` by their names in the model; ``base``: what the file says that it was trained on; ``digest``: of the
    folder's bytes (sha256)."""

    layers: Mapping[str, LowRank]
    rank: int
    base: str | None
    digest: str


def read_adapter(folder: Path, spec: ModelSpec, *, most_rank: int | None = None) -> Adapter:
    """The adapter in ``folder``, for models like ``spec``; its tensors keep their dtype.

    Raises ``ModelFileError`` naming what is no LoRA of such a model, or no number; ``TooLargeError`` above
    ``most_rank``.
    """
    where = str(folder)
    config, tensors, digest = _read(folder)
    rank, scale = _settings(config, where)
    if most_rank is not None and rank > most_rank:
        raise TooLargeError(f"the adapter has rank {rank}; at most {most_rank} is served", where=where)
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise ModelFileError(f"the tensor '{key}' is no part of a LoRA of linear layers", where=where)
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise ModelFileError(f"the tensor '{key}' holds what is no finite number", where=where)
        sides.setdefault(match["layer"], {})[match["side"]] = tensor
    places = their_layers(spec)
    if strangers := sorted(set(sides) - set(places)):
        raise ModelFileError(f"the model has no such layers: {', '.join(strangers[:_SHOWN])}", where=where)
    layers: dict[str, LowRank] = {}
    for theirs, pair in sides.items():
        layers |= _layers(theirs, pair, places[theirs], rank, scale, where)
    if not layers:
        raise ModelFileError("the adapter holds no tensors", where=where)
    base = config.get("base_model_name_or_path")
    return Adapter(layers=layers, rank=rank, base=base if isinstance(base, str) else None, digest=digest)


def their_layers(spec: ModelSpec) -> dict[str, dict[str, nn.Linear]]:
    """The family's name of each linear layer (or of several that are one tensor there) to ours, with their shapes."""
    with hollow():
        model = Transformer(spec)
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    found: dict[str, dict[str, nn.Linear]] = {}
    for rule in _rules(spec, linears):
        names = [name.removesuffix(".weight") for name in rule.ours]
        if rule.theirs.endswith(".weight") and all(name in linears for name in names):
            found.setdefault(rule.theirs.removesuffix(".weight"), {name: linears[name] for name in names})
    return found


def _rules(spec: ModelSpec, names: Mapping[str, Any]) -> Iterator[Rule]:
    layers = sorted({int(match[1]) for name in names if (match := re.search(r"\.(\d+)\.", name))})
    for rule in family_of_spec(spec)[0].rules:
        yield from (rule.of_layer(i) for i in layers) if "{i}" in rule.theirs else (rule,)


def _settings(config: Mapping[str, Any], where: str) -> tuple[int, float]:
    """Rank and scale."""
    beyond = [name for name in _BEYOND if config.get(name)]
    if config.get("bias", "none") not in ("none", None):
        beyond.append("bias")
    if config.get("peft_type") != "LORA" or beyond:
        what = ", ".join(beyond) if config.get("peft_type") == "LORA" else f"peft_type {config.get('peft_type')!r}"
        raise ModelFileError(
            f"only plain LoRA adapters can be read, without {what}",
            where=where,
            hint="merge it into its base with the library that made it, and use the merged model",
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if isinstance(rank, bool) or not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise ModelFileError("'r' and 'lora_alpha' must be numbers, 'r' above 0", where=where)
    if not math.isfinite(alpha):
        raise ModelFileError("'lora_alpha' must be one of the finite numbers", where=where)
    return rank, float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _layers(
    theirs: str, pair: Mapping[str, Tensor], ours: Mapping[str, nn.Linear], rank: int, scale: float, where: str
) -> dict[str, LowRank]:
    """One of their layers as ours."""
    inputs = next(iter(ours.values())).in_features
    outputs = [layer.out_features for layer in ours.values()]
    for side, shape in (("A", (rank, inputs)), ("B", (sum(outputs), rank))):
        found = pair.get(side)
        if found is None or tuple(found.shape) != shape:
            told = "missing" if found is None else f"of shape {tuple(found.shape)}"
            raise ModelFileError(
                f"the tensor '{PREFIX}{theirs}.lora_{side}.weight' is {told}, not {shape}", where=where
            )
    parts = pair["B"].split(outputs)
    return {name: LowRank(pair["A"], up, scale) for name, up in zip(ours, parts, strict=True)}


def digest_of(folder: Path) -> str | None:
    """The digest of the adapter in ``folder``; None where there is none."""
    try:
        return _digest(_parts(folder))
    except (OSError, ValueError):
        return None


def _parts(folder: Path) -> list[bytes]:
    return [_bytes(folder / name, most) for name, most in ((CONFIG, _MOST_CONFIG), (WEIGHTS, _MOST_WEIGHTS))]


def _digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Settings, tensors and the digest of the very bytes that both were read from."""
    if (folder / "adapter_model.bin").exists() and not (folder / WEIGHTS).exists():
        raise ModelFileError(
            "adapter_model.bin is a pickle, which can run code when it is read",
            where=str(folder),
            hint="save it anew with safe_serialization=True",
        )
    try:
        parts = _parts(folder)
        config = json.loads(parts[0])
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG} is no JSON object")
        tensors = load(parts[1])
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ModelFileError(f"not a PEFT adapter: {error}", where=str(folder)) from error
    return config, tensors, _digest(parts)


def _bytes(file: Path, most: int) -> bytes:
    with file.open("rb") as stream:
        found = stream.read(most + 1)
    if len(found) > most:
        raise ValueError(f"{file.name} is larger than {most} bytes")
    return found
