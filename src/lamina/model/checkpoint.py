"""Models in and out: Hugging Face folders (``config.json`` and safetensors), read with care and written back.

A file that says ``tie_word_embeddings`` and still holds a head of its own that differs from the embedding is untied
when it is opened, with a warning: the tensors win over the flag.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lamina.kit.errors import ModelFileError, NotFoundError
from lamina.model.families import family_of_config, family_of_spec
from lamina.model.families.weights import Family
from lamina.model.layers.hollow import hollow
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer, table_name

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
#: What lies beside the weights in a model's folder and goes with them when a trained model is saved.
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
    "modules.json",  # and the others of sentence-transformers
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)
_BYTES = {"I8": torch.int8, "U8": torch.uint8}  # what may be looked at wherever it lies
_log = logging.getLogger(__name__)


def open_model(folder: Path, *, dtype: torch.dtype | None = torch.float32) -> Transformer:
    """The model in a Hugging Face folder, its weights in ``dtype`` (None = as they lie in the file), in eval mode.

    Raises ``NotFoundError`` (no such folder) or ``ModelFileError`` (naming the file, and the tensor where it is one).
    """
    read_config(folder)  # what is no model's folder is said to be none before weights are looked for
    return model_of(folder, read_tensors(folder), dtype=dtype)


def model_of(folder: Path, tensors: Mapping[str, Tensor], *, dtype: torch.dtype | None = torch.float32) -> Transformer:
    """The model in ``folder``, whose ``tensors`` were read already; it may share their memory. As ``open_model``."""
    tensors = _cast(dict(tensors), dtype)
    spec, family = _settled(folder, tensors)
    with hollow():
        model = Transformer(spec)
    shapes = {name: t.shape for name, t in model.state_dict().items() if name not in model.aliases}
    ours = family.from_file(tensors, shapes, str(folder))
    model.load_state_dict({name: t.contiguous() for name, t in ours.items()}, strict=False, assign=True)
    model.tie()
    return model.eval()


def spec_of(folder: Path, tensors: Mapping[str, Tensor]) -> ModelSpec:
    """The specification of the model that ``open_model`` opens, from its ``tensors``."""
    return _settled(folder, dict(tensors))[0]


def _settled(folder: Path, tensors: dict[str, Tensor]) -> tuple[ModelSpec, Family]:
    """The specification as config.json and ``tensors`` have it together; a head that is the embedding is taken out."""
    config, where = read_config(folder), str(folder / "config.json")
    family = family_of_config(config, where)
    spec = family.settle(family.to_spec(config, where), tensors)
    return _settle_tie(spec, family, tensors, folder), family


def save_model(model: Transformer, folder: Path, *, like: Path | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors`` into ``folder`` (a staging folder; see ``kit.durable.publish``).

    From ``like``, a model folder, come the tokenizer, chat template and generation settings, and what its
    ``config.json`` says beyond the architecture (the ids of the special tokens).
    """
    folder.mkdir(parents=True, exist_ok=True)
    family, config = family_of_spec(model.spec)
    weights = {name: t.detach() for name, t in model.state_dict().items() if name not in model.aliases}
    file = family.to_file(weights)
    if sum(t.numel() for t in file.values()) != model.parameter_count:
        raise ModelFileError(
            f"the {family.model_type} layout has no place for some weights of this model",
            where=str(folder),
            hint="merge the LoRA adapters first",
        )
    config["dtype"] = config["torch_dtype"] = str(next(iter(file.values())).dtype).removeprefix("torch.")
    old: dict[str, Any] = {}
    if like is not None:
        old = read_config(like) if (like / "config.json").is_file() else {}  # or a folder with a tokenizer alone
        copy_companions(like, folder)
    old = old if old.get("model_type") == config["model_type"] else {}
    if len(old.get("id2label") or {}) == len(config.get("id2label") or {}):
        config = {key: value for key, value in config.items() if key not in ("id2label", "label2id")}
    config = {**family.defaults, **old, **config}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(file, folder / WEIGHTS, metadata={"format": "pt"})


def copy_companions(source: Path, folder: Path) -> None:
    """Copy what belongs to a model beside its weights: tokenizer, chat template, generation settings."""
    for name in COMPANIONS:
        if (source / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)


def read_config(folder: Path) -> dict[str, Any]:
    """A model folder's ``config.json``."""
    path = folder / "config.json"
    if not path.is_file():
        raise NotFoundError("there is no model here: config.json is missing", where=str(folder))
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelFileError(f"not JSON: {error}", where=str(path)) from error
    if not isinstance(config, dict):
        raise ModelFileError("config.json must hold an object", where=str(path))
    return config


def read_tensors(folder: Path, *, lent: bool = False) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors file or shards, by name; each is finite.

    ``lent``: whole numbers are looked at in the file's own pages, for whoever packs them elsewhere at once: copying
    them first would take a second memory. Raises ``ModelFileError`` naming the file that is missing, truncated or
    malformed, or the tensor that is not finite.
    """
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        for name, tensor in _read_file(path, lent):
            if tensor.is_floating_point() and tensor.numel() and not _finite(tensor):
                raise ModelFileError(f"the tensor '{name}' holds NaN or infinite values", where=str(path))
            tensors[name] = tensor
    return tensors


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        raise ModelFileError(f"neither {WEIGHTS} nor {INDEX} is here", where=str(folder))
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"not an index of weights: {error!r}", where=str(index)) from error
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelFileError(f"the shard {name!r} is not in the folder", where=str(index))
    return [folder / name for name in names]


def _read_file(path: Path, lent: bool) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            there = _lent(path) if lent else {}
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                # in its own, aligned memory: the file may change under us
                yield name, there[name] if name in there else file.get_tensor(name).clone()
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"not a whole safetensors file: {error}", where=str(path)) from error


def _lent(path: Path) -> dict[str, Tensor]:
    """The whole numbers in a file whose header is in order, as views of one mapping: neighbours in it stay such."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    pages = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    found = {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] in _BYTES:
            begin, end = (8 + size + place for place in about["data_offsets"])
            found[name] = pages[begin:end].view(_BYTES[about["dtype"]]).view(about["shape"])
    return found


def _finite(tensor: Tensor) -> bool:
    low, high = torch.aminmax(tensor)  # one pass; NaN spreads to both
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _cast(tensors: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    if dtype is None:
        return tensors
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


def _settle_tie(spec: ModelSpec, family: Family, tensors: dict[str, Tensor], folder: Path) -> ModelSpec:
    """A tied model's head must be its embedding: drop an equal copy; untie, with a warning, where they differ."""
    if not spec.head or not spec.head.tied:
        return spec
    head = family.their_name("head.weight")
    if head not in tensors:
        return spec
    embedding = family.their_name(table_name(spec))
    table = tensors.get(embedding, tensors.get(embedding.removeprefix(family.prefix)))
    if table is None or torch.equal(table, tensors[head]):
        del tensors[head]
        return spec
    _log.warning("%s: says tie_word_embeddings but holds a head of its own; opened untied", folder)
    return dataclasses.replace(spec, head=dataclasses.replace(spec.head, tied=False))
