"""A model in the form in which it is served: quantised, saved as a Hugging Face folder, and opened again.

The quantised tensors keep their Hugging Face names; the scales lie beside them as ``<name>_scale``, of shape (N, 1) for
int8 and (N, K / 32) for int4, minimums as ``<name>_minimum``, and ``config.json`` says so in ``quantization_config``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lamina.deployment.compress.int4 import GROUP, Int4Linear, with_minimums
from lamina.deployment.compress.int8 import Int8Embedding, Int8Linear, wide_dtype
from lamina.kit.errors import InputError, ModelFileError
from lamina.model.checkpoint import WEIGHTS, copy_companions, open_model, read_config, read_tensors, save_model
from lamina.model.families import family_of_config, family_of_spec
from lamina.model.layers.hollow import hollow
from lamina.model.transformer import Transformer, table_name

Bits = Literal["int8", "int4"]
Quantization = Literal[Bits, "none"]
METHODS: dict[str, Bits] = {"lamina-int8": "int8", "lamina-int4": "int4"}
_SCALE, _MINIMUM = "_scale", "_minimum"
_KEY = "quantization_config"


def can_quantize(model: Transformer) -> bool:
    """Whether ``quantize`` takes ``model``: decoders with a vocabulary head. The blocks of others are rounded when they
    are loaded, where that is faster (``texts.opening``)."""
    return model.encoder is None and model.head is not None


@torch.no_grad()
def quantize(model: Transformer, bits: Bits = "int8") -> Transformer:
    """Turn every linear layer, the head and the token table of ``model`` to int8, in place; returns ``model``.

    "int4": the layers within blocks in groups of 32, those that their file had where it was of such (see ``int4``);
    head and table stay int8, and so does a layer whose inputs are not whole groups. A tied head and its embedding share
    one int8 table. Norms, biases and place vectors become float32. Raises ``InputError``, see ``can_quantize``.
    """
    if not can_quantize(model):
        raise InputError("only decoders with a vocabulary head are stored in 8 or 4 bits", hint='quantize = "none"')
    table = Int8Embedding.of(model.stack.embeddings.token)
    own: Any = model.head  # where it is not tied it is a linear layer, which torch's types of modules do not say
    head = Int8Linear(table.weight, table.scale) if _is_tied(model) else Int8Linear.of(own)
    model.head = nn.Identity()  # so that a tied table is not visited twice
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, (Int4Linear if bits == "int4" and _in_groups(child) else Int8Linear).of(child))
    model.stack.embeddings.token = table
    model.head = head
    with_minimums([m for m in model.modules() if isinstance(m, Int4Linear)])
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(False)
    return model.eval()


def _in_groups(linear: nn.Linear) -> bool:
    return linear.in_features % GROUP == 0


def _is_tied(model: Transformer) -> bool:
    return model.spec.head is not None and model.spec.head.tied


@torch.no_grad()
def dequantize(model: Transformer, dtype: torch.dtype) -> Transformer:
    """The plain model in ``dtype`` that a quantised ``model`` stands for, for devices that multiply it as such."""
    with hollow():
        plain = Transformer(model.spec)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    for name, module in model.named_modules():
        if isinstance(module, Int8Linear | Int4Linear | Int8Embedding):
            weights[f"{name}.weight"] = module.widened()
            if not isinstance(module, Int8Embedding) and module.bias is not None:
                weights[f"{name}.bias"] = module.bias
    weights = {name: t.to(dtype) for name, t in weights.items() if name not in plain.aliases}
    plain.load_state_dict(weights, strict=False, assign=True)
    plain.tie()
    return plain.requires_grad_(False).eval()


def is_quantized(model: Transformer) -> bool:
    """Whether ``model`` went through ``quantize`` (or was opened from a quantised folder)."""
    return isinstance(model.stack.embeddings.token, Int8Embedding)


def is_quantized_folder(folder: Path) -> bool:
    """Whether the model in ``folder`` was saved in such a form."""
    return _KEY in read_config(folder)


def save_served(
    model: Transformer,
    folder: Path,
    *,
    like: Path | None,
    quantize: Quantization = "int8",
    calibration: str | None = None,
) -> None:
    """Write ``model`` into ``folder`` (a staging folder) as it will be served, with ``like``'s tokenizer and settings.

    ``quantize="int8"`` or ``"int4"`` quantises ``model`` in place first, unless it is already. ``calibration``: by
    which method it was, for ``config.json``.
    """
    if quantize == "none":
        if is_quantized(model):
            raise InputError("a quantised model cannot be saved as a plain one", where=str(folder))
        save_model(model, folder, like=like)
        return
    if not is_quantized(model):
        _quantize(model, quantize)
    folder.mkdir(parents=True, exist_ok=True)
    family, config = family_of_spec(model.spec)
    weights, scales, minimums = _split(model)
    file = {
        name + ending: tensor.contiguous()
        for ending, part in (("", weights), (_SCALE, scales), (_MINIMUM, minimums))
        for name, tensor in family.to_file(part).items()
    }
    if like is not None:
        old = read_config(like)
        config = (old if old.get("model_type") == config["model_type"] else {}) | config
        copy_companions(like, folder)
    config["dtype"] = config["torch_dtype"] = "float32"
    config[_KEY] = _about(model) | ({} if calibration is None else {"calibration": calibration})
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(file, folder / WEIGHTS, metadata={"format": "pt"})


_quantize = quantize  # `save_served` has a parameter of this name


def open_served(folder: Path, *, lent: bool = False) -> Transformer:
    """The model in ``folder``, quantised or plain, ready to be asked (eval mode, no gradients).

    A plain one takes the dtype that this CPU multiplies fastest. ``lent``: the weights of quantised blocks lie in the
    file's pages, for a native decoder that packs them and lets them go. Raises ``NotFoundError`` or ``ModelFileError``.
    """
    config = read_config(folder)
    if _KEY not in config:
        return open_model(folder, dtype=wide_dtype()).requires_grad_(False)
    about = config[_KEY] if isinstance(config[_KEY], dict) else {}
    if about.get("quant_method") not in METHODS:
        raise ModelFileError(
            f"the quantisation {about.get('quant_method')!r} is not known",
            where=str(folder / "config.json"),
            hint="known: " + ", ".join(METHODS),
        )
    return _open_quantized(folder, config, about, lent)


def _about(model: Transformer) -> dict[str, Any]:
    """What ``config.json`` says of the quantisation."""
    groups = [m for m in model.modules() if isinstance(m, Int4Linear)]
    if not groups:
        return {"quant_method": "lamina-int8", "bits": 8, "symmetric": True, "strategy": "channel", "version": 1}
    symmetric = groups[0].minimum is None
    about = {"quant_method": "lamina-int4", "bits": 4, "symmetric": symmetric, "strategy": "group"}
    return about | {"group_size": GROUP, "version": 1}


def _split(model: Transformer) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The weights by our names; scales (N, groups) and minimums by those of their weights. A tied head is left out."""
    weights: dict[str, Tensor] = {}
    beside: dict[str, dict[str, Tensor]] = {"scale": {}, "minimum": {}}
    for name, tensor in model.state_dict().items():
        path, _, last = name.rpartition(".")
        if path == "head" and _is_tied(model):
            continue
        if last in beside:
            beside[last][path + ".weight"] = tensor.view(tensor.shape[0], -1)
        else:
            weights[name] = tensor
    return weights, beside["scale"], beside["minimum"]


def _open_quantized(folder: Path, config: dict[str, Any], about: dict[str, Any], lent: bool) -> Transformer:
    where = str(folder)
    family = family_of_config(config, str(folder / "config.json"))
    with hollow():
        model = Transformer(family.to_spec(config, str(folder / "config.json")))
    shapes = {name: t.shape for name, t in model.state_dict().items() if name not in model.aliases}
    groups = _groups_of(model) if METHODS[about["quant_method"]] == "int4" else {}
    shapes |= {name: torch.Size([rows, GROUP // 2 * count]) for name, (rows, count) in groups.items()}
    tensors = read_tensors(folder, lent=lent)
    scales, minimums = (_taken(tensors, ending) for ending in (_SCALE, _MINIMUM))
    weights = family.from_file(tensors, shapes, where)
    del tensors
    for name in {table_name(model.spec), "head.weight"} & weights.keys() if lent else ():
        weights[name] = weights[name].clone()  # they stay, when those of the blocks are let go of
    whole = {name: torch.Size([shapes[name][0], 1]) for name, t in weights.items() if t.dtype == torch.int8}
    of_scales = family.from_file(scales, whole | groups, where)
    of_minimums = family.from_file(minimums, {} if about.get("symmetric", True) else groups, where)
    _fill(model, weights, of_scales, of_minimums, where)
    return model.requires_grad_(False).eval()


def _groups_of(model: Transformer) -> dict[str, torch.Size]:
    """The weights that int4 holds in groups, and how many: (N, K / 32)."""
    return {
        f"{name}.weight": torch.Size([module.out_features, module.in_features // GROUP])
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "head" and _in_groups(module)
    }


def _taken(tensors: dict[str, Tensor], ending: str) -> dict[str, Tensor]:
    """Those whose name has this ``ending``, without it; they leave ``tensors``."""
    names = [name for name in tensors if name.endswith(ending)]
    return {name.removesuffix(ending): tensors.pop(name) for name in names}


def _fill(
    model: Transformer,
    weights: dict[str, Tensor],
    scales: dict[str, Tensor],
    minimums: dict[str, Tensor],
    where: str,
) -> None:
    """Put the quantised layers and the plain tensors in the place of ``model``'s empty ones."""
    table = table_name(model.spec)
    if table not in scales:
        raise ModelFileError("the token table is not int8", where=where)
    model.stack.embeddings.token = Int8Embedding(weights.pop(table).contiguous(), _of_rows(scales.pop(table)))
    if _is_tied(model):
        model.head = Int8Linear(model.stack.embeddings.token.weight, model.stack.embeddings.token.scale)
    for name, scale in scales.items():
        path = name.removesuffix(".weight")
        weight, bias = weights.pop(name).contiguous(), weights.pop(path + ".bias", None)
        bias = None if bias is None else bias.float()
        layer: nn.Module
        if weight.dtype == torch.uint8:
            minimum = minimums.get(name)
            layer = Int4Linear(weight, scale.contiguous(), None if minimum is None else minimum.contiguous(), bias)
        else:
            layer = Int8Linear(weight, _of_rows(scale), bias)
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    plain = {name: t.float().contiguous() for name, t in weights.items()}
    model.load_state_dict(plain, strict=False, assign=True)
    empty = [name for name, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta]
    if empty:
        raise ModelFileError(f"no weights for {', '.join(empty[:8])}", where=where)


def _of_rows(scale: Tensor) -> Tensor:
    """Scales (N, 1) of int8 rows as the layers hold them."""
    return scale.flatten().to(torch.bfloat16)
