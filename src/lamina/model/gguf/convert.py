"""A GGUF file to a Hugging Face folder: configuration, weights, tokenizer, generation settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.families import family_of_config
from lamina.model.gguf.expand import Tensors, type_name
from lamina.model.gguf.forms import (
    FORMS,
    FREQUENCIES,
    FUSED,
    PARTS,
    WHOLE,
    Form,
    Metadata,
    halves,
    whole_norm,
)
from lamina.model.gguf.header import read_header
from lamina.model.gguf.tokenizer import special_ids, write_tokenizer
from lamina.model.layers.hollow import hollow
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

_OURS = {theirs: ours for ours, theirs in WHOLE.items()}
_OUR_PARTS = {theirs: ours for ours, theirs in PARTS.items()}
_PART = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
_HEAD, _TABLE = "head.weight", "decoder.embeddings.token.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What the file says of itself: its name, licence (SPDX or as written), and how many weights it holds."""

    name: str | None
    license: str | None
    architecture: str
    parameters: int
    types: dict[str, int]  # tensors of each quantisation type


def import_gguf(path: Path, folder: Path, *, dtype: torch.dtype = torch.float32) -> Imported:
    """Write the model in the GGUF file ``path`` as a Hugging Face folder (a staging folder, see ``kit.durable``).

    Writes ``config.json``, ``model.safetensors`` in ``dtype``, ``tokenizer.json``, ``tokenizer_config.json`` (with the
    chat template) and ``generation_config.json``. Raises ``ModelFileError`` naming the tensor, key or byte at fault.
    """
    where = str(path)
    header = read_header(path)
    architecture = header.fields.get("general.architecture")
    form = FORMS.get(str(architecture))
    if form is None:
        known = ", ".join(FORMS)
        raise ModelFileError(f"the architecture {architecture!r} is not supported", where=where, hint=f"known: {known}")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = Tensors(path)
    read = {info.name: tensors.read(info) for info in header.tensors}
    frequencies = read.pop(FREQUENCIES, None)
    meta = Metadata(header, where, None if frequencies is None else frequencies.numpy())
    config = {"model_type": form.model_type, **form.config(meta)}
    spec = family_of_config(config, where).to_spec(config | {"tie_word_embeddings": WHOLE[_HEAD] not in read}, where)
    spec, ours = _settle_tie(spec, _our_names(read, spec, form, where))
    _check(spec, ours, where)
    parameters = _write_model(spec, {name: t.to(dtype) for name, t in ours.items()}, meta, folder)
    kinds = [type_name(t.kind) for t in header.tensors]
    return Imported(
        name=header.fields.get("general.name"),
        license=header.fields.get("general.license"),
        architecture=str(architecture),
        parameters=parameters,
        types={kind: kinds.count(kind) for kind in sorted(set(kinds))},
    )


def _write_model(spec: ModelSpec, ours: Mapping[str, Tensor], meta: Metadata, folder: Path) -> int:
    """The folder's files; how many weights they hold."""
    family = family_of_config({"model_type": FORMS[meta.architecture].model_type}, meta.where)
    config = family.from_spec(spec)
    if config is None:
        raise meta.refuse(f"the family {family.model_type} cannot express what the header describes")
    weights = family.to_file(ours)
    config = {**family.defaults, **config, **special_ids(meta.header.fields)}
    config["dtype"] = config["torch_dtype"] = str(next(iter(ours.values())).dtype).removeprefix("torch.")
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", special_ids(meta.header.fields))
    write_tokenizer(meta.header.fields, folder, meta.where)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return sum(t.numel() for t in weights.values())


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _our_names(read: dict[str, Tensor], spec: ModelSpec, form: Form, where: str) -> dict[str, Tensor]:
    """The file's tensors under our names and in our order; those of ``read`` are taken out of it."""
    ours: dict[str, Tensor] = {}
    attention = spec.stack.blocks[0].attention
    heads = {"attention.q": attention.heads, "attention.k": attention.kv_heads} if form.interleaved else {}
    for name in list(read):
        values = read.pop(name)
        if form.whole_norms:
            values = whole_norm(name, values, -1.0)
        found = _PART.fullmatch(name)
        if name in _OURS:
            ours[_OURS[name]] = values
        elif found and found[2] == FUSED:
            for part, piece in zip("qkv", values.chunk(3), strict=True):
                ours[f"decoder.blocks.{found[1]}.attention.{part}.{found[3]}"] = piece.contiguous()
        elif found and found[2] in _OUR_PARTS:
            part = _OUR_PARTS[found[2]]
            values = halves(values, heads[part], f"{where}: {name}") if part in heads else values
            ours[f"decoder.blocks.{found[1]}.{part}.{found[3]}"] = values
        else:
            raise ModelFileError(f"the tensor '{name}' is not one of a {form.model_type} model", where=where)
    return ours


def _settle_tie(spec: ModelSpec, ours: dict[str, Tensor]) -> tuple[ModelSpec, dict[str, Tensor]]:
    """A head that is the embedding again (llama.cpp's converter has written GPT-2's so) is tied to it."""
    if spec.head is None or _HEAD not in ours or not torch.equal(ours[_HEAD], ours[_TABLE]):
        return spec, ours
    del ours[_HEAD]
    return replace(spec, head=replace(spec.head, tied=True)), ours


def _check(spec: ModelSpec, ours: Mapping[str, Tensor], where: str) -> None:
    """Raise ``ModelFileError`` that names the first tensor that is missing, too many or of a wrong shape."""
    with hollow():
        model = Transformer(spec)
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items() if name not in model.aliases}
    for name in sorted(expected.keys() | ours.keys()):
        if name not in ours:
            raise ModelFileError(f"the tensor '{_their_name(name)}' is missing", where=where)
        if name not in expected:
            what = f"the tensor '{_their_name(name)}' has no place in the model that the header describes"
            raise ModelFileError(what, where=where)
        if tuple(ours[name].shape) != expected[name]:
            raise ModelFileError(
                f"the tensor '{_their_name(name)}' has shape {tuple(ours[name].shape)}; "
                f"the header asks for {expected[name]}",
                where=where,
            )


def _their_name(ours: str) -> str:
    """llama.cpp's name of a parameter."""
    found = re.fullmatch(r"decoder\.blocks\.(\d+)\.(.+)\.(weight|bias)", ours)
    return f"blk.{found[1]}.{PARTS[found[2]]}.{found[3]}" if found else WHOLE[ours]
