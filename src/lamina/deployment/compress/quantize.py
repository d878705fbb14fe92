"""A model in the form in which it is served: quantised, saved as a Hugging Face folder, and opened again.

The int8 tensors keep their Hugging Face names; the scales lie beside them as ``<name>_scale``, of shape (N, 1), and
``config.json`` says so in ``quantization_config``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lamina.deployment.compress.int8 import Int8Embedding, Int8Linear, wide_dtype
from lamina.kit.errors import InputError, ModelFileError
from lamina.model.checkpoint import WEIGHTS, copy_companions, open_model, read_config, read_tensors, save_model
from lamina.model.families import family_of_config, family_of_spec
from lamina.model.layers.hollow import hollow
from lamina.model.transformer import Transformer, table_name

Quantization = Literal["int8", "none"]
METHOD = "lamina-int8"
_SCALE = "_scale"
_KEY = "quantization_config"


@torch.no_grad()
def quantize(model: Transformer) -> Transformer:
    """Turn every linear layer, the head and the token table of ``model`` to int8, in place; returns ``model``.

    A tied head and its embedding share one int8 table. Norms, biases and place vectors become float32.
    """
    table = Int8Embedding.of(model.stack.embeddings.token)
    head = Int8Linear(table.weight, table.scale) if _is_tied(model) else Int8Linear.of(model.head)  # type: ignore[arg-type]
    model.head = nn.Identity()  # so that a tied table is not visited twice
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear.of(child))
    model.stack.embeddings.token = table
    model.head = head
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(False)
    return model.eval()


def _is_tied(model: Transformer) -> bool:
    return model.spec.head is not None and model.spec.head.tied


@torch.no_grad()
def dequantize(model: Transformer, dtype: torch.dtype) -> Transformer:
    """The plain model in ``dtype`` that an int8 ``model`` stands for, for devices that multiply it as such."""
    with hollow():
        plain = Transformer(model.spec)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    for name, module in model.named_modules():
        if isinstance(module, Int8Linear | Int8Embedding):
            weights[f"{name}.weight"] = module.weight.float() * module.scale.float()[:, None]
            if isinstance(module, Int8Linear) and module.bias is not None:
                weights[f"{name}.bias"] = module.bias
    weights = {name: t.to(dtype) for name, t in weights.items() if name not in plain.aliases}
    plain.load_state_dict(weights, strict=False, assign=True)
    plain.tie()
    return plain.requires_grad_(False).eval()


def is_quantized(model: Transformer) -> bool:
    """Whether ``model`` went through ``quantize`` (or was opened from a quantised folder)."""
    return isinstance(model.stack.embeddings.token, Int8Embedding)


def save_served(model: Transformer, folder: Path, *, like: Path | None, quantize: Quantization = "int8") -> None:
    """Write ``model`` into ``folder`` (a staging folder) as it will be served, with ``like``'s tokenizer and settings.

    ``quantize="int8"`` quantises ``model`` in place first, unless it is already.
    """
    if quantize == "none":
        if is_quantized(model):
            raise InputError("an int8 model cannot be saved as an unquantised one", where=str(folder))
        save_model(model, folder, like=like)
        return
    if not is_quantized(model):
        _quantize(model)
    folder.mkdir(parents=True, exist_ok=True)
    family, config = family_of_spec(model.spec)
    weights, scales = _split(model)
    file = {name: t.contiguous() for name, t in family.to_file(weights).items()}
    file |= {name + _SCALE: t.contiguous() for name, t in family.to_file(scales).items()}
    if like is not None:
        old = read_config(like)
        config = (old if old.get("model_type") == config["model_type"] else {}) | config
        copy_companions(like, folder)
    config["dtype"] = config["torch_dtype"] = "float32"
    config[_KEY] = {"quant_method": METHOD, "bits": 8, "symmetric": True, "strategy": "channel", "version": 1}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(file, folder / WEIGHTS, metadata={"format": "pt"})


_quantize = quantize  # `save_served` has a parameter of this name


def open_served(folder: Path) -> Transformer:
    """The model in ``folder``, quantised or plain, ready to be asked (eval mode, no gradients).

    A plain one takes the dtype that this CPU multiplies fastest. Raises ``NotFoundError`` or ``ModelFileError``.
    """
    config = read_config(folder)
    if _KEY not in config:
        return open_model(folder, dtype=wide_dtype()).requires_grad_(False)
    method = config[_KEY].get("quant_method") if isinstance(config[_KEY], dict) else None
    if method != METHOD:
        raise ModelFileError(
            f"the quantisation {method!r} is not known", where=str(folder / "config.json"), hint=f"known: {METHOD}"
        )
    return _open_int8(folder, config)


def _split(model: Transformer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights by our names, and the scales (N, 1) under the names of their weights; a tied head is left out."""
    weights: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("head.") and _is_tied(model):
            continue
        if name.endswith(".scale"):
            scales[name.removesuffix(".scale") + ".weight"] = tensor[:, None]
        else:
            weights[name] = tensor
    return weights, scales


def _open_int8(folder: Path, config: dict[str, Any]) -> Transformer:
    where = str(folder)
    family = family_of_config(config, str(folder / "config.json"))
    with hollow():
        model = Transformer(family.to_spec(config, str(folder / "config.json")))
    shapes = {name: t.shape for name, t in model.state_dict().items() if name not in model.aliases}
    tensors = read_tensors(folder)
    scaled = {n.removesuffix(_SCALE): t for n, t in tensors.items() if n.endswith(_SCALE)}
    weights = family.from_file({n: t for n, t in tensors.items() if not n.endswith(_SCALE)}, shapes, where)
    int8 = [name for name, t in weights.items() if t.dtype == torch.int8]
    scales = family.from_file(scaled, {name: torch.Size([shapes[name][0], 1]) for name in int8}, where)
    del tensors, scaled
    _fill(model, weights, {name: t.flatten().to(torch.bfloat16) for name, t in scales.items()}, where)
    return model.requires_grad_(False).eval()


def _fill(model: Transformer, weights: dict[str, Tensor], scales: dict[str, Tensor], where: str) -> None:
    """Put the int8 layers and the plain tensors in the place of ``model``'s empty ones."""
    table = table_name(model.spec)
    if table not in scales:
        raise ModelFileError("the token table is not int8", where=where)
    model.stack.embeddings.token = Int8Embedding(weights.pop(table).contiguous(), scales.pop(table))
    if _is_tied(model):
        model.head = Int8Linear(model.stack.embeddings.token.weight, model.stack.embeddings.token.scale)
    for name, scale in scales.items():
        path = name.removesuffix(".weight")
        bias = weights.pop(path + ".bias", None)
        layer = Int8Linear(weights.pop(name).contiguous(), scale, None if bias is None else bias.float())
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    plain = {name: t.float().contiguous() for name, t in weights.items()}
    model.load_state_dict(plain, strict=False, assign=True)
    empty = [name for name, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta]
    if empty:
        raise ModelFileError(f"no weights for {', '.join(empty[:8])}", where=where)
