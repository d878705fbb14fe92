"""``lamina model``: show, import, export."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.errors import BusyError, InputError, ModelFileError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.model.spec import ModelSpec

SERVED = "served"  # the form in which a version answers
_DRAWN = 64  # tokens of a sentence whose attention is drawn


def import_folder(path: Path, folder: Path) -> None:
    """Write the model at ``path`` (a GGUF file, a folder with one, or a Hugging Face folder) into ``folder``."""
    from lamina.model.checkpoint import copy_companions
    from lamina.model.gguf import import_gguf

    if path.is_file() and path.suffix.lower() == ".gguf":
        import_gguf(path, folder)
        return
    configs = sorted(path.rglob("config.json"), key=lambda c: (len(c.parts), c)) if path.is_dir() else []
    ggufs = sorted(path.rglob("*.gguf")) if path.is_dir() else []
    if configs and (not ggufs or configs[0].parent == path):
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(configs[0].parent.iterdir()):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
        copy_companions(configs[0].parent, folder)  # some of which lie in folders of their own
    elif len(ggufs) == 1:
        import_gguf(ggufs[0], folder)
    elif ggufs:
        names = ", ".join(str(g.relative_to(path)) for g in ggufs)
        raise ModelFileError(f"holds several GGUF files: {names}", where=str(path), hint="name the file itself")
    else:
        raise ModelFileError("holds neither config.json nor a .gguf file", where=str(path))


def import_model(location: str, folder: Path) -> Path:
    """Fetch ``location`` and write it as a Hugging Face ``folder``, which must be new."""
    if folder.exists() and any(folder.iterdir()):
        raise BusyError("is not empty", where=str(folder), hint="name a new folder")
    progress = open_progress("auto")
    with tempfile.TemporaryDirectory() as cache:
        import_folder(_locate(location, Path(cache), progress), folder)
    return folder


def show(
    place: str, *, as_json: bool, context: int | None = None, pictures: Path | None = None, sentence: str | None = None
) -> Any:
    """A model folder, a GGUF file or "preset:NAME" as a table of its parts with shapes, parameters and costs.

    ``pictures``: a folder that gets ``architecture.svg``, and with a ``sentence`` ``attention.svg``.
    """
    from lamina.model.show import describe, draw

    if sentence is not None and pictures is None:
        raise InputError("a sentence needs a folder for its picture", where="sentence", hint="--pictures FOLDER")
    with tempfile.TemporaryDirectory() as cache:
        folder, spec = _described(place, Path(cache))
        described = describe(spec, context=context)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            name = place.removeprefix("preset:").rstrip("/").rpartition("/")[2]
            (pictures / "architecture.svg").write_text(draw(described, name), encoding="utf-8")
            if sentence is not None:
                _draw_sentence(folder, sentence, pictures / "attention.svg")
    return described.json() if as_json else described.text()


def _described(place: str, cache: Path) -> tuple[Path | None, ModelSpec]:
    """The folder (None of a preset) and the specification of a model."""
    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import open_model

    if place.startswith("preset:"):
        return None, preset(place.removeprefix("preset:"))
    path = _locate(place, cache, open_progress("quiet"))
    if not (path / "config.json").is_file():
        folder = cache / "model"
        import_folder(path, folder)
        path = folder
    return path, open_model(path).spec


def _draw_sentence(folder: Path | None, sentence: str, picture: Path) -> None:
    import torch

    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.model.show import attention_maps, draw_attention

    if folder is None:
        raise InputError("a preset has no weights: it attends to nothing yet", where="sentence", hint="name a model")
    tokenizer, model = open_tokenizer(folder), open_model(folder)
    ids = tokenizer.framed(sentence).ids
    if not 0 < len(ids) <= min(_DRAWN, model.spec.max_positions):
        raise InputError(f"{len(ids)} tokens cannot be drawn", where="sentence", hint=f"from 1 to {_DRAWN}")
    given = torch.tensor([ids])
    maps = attention_maps(model, given, sources=given if model.encoder is not None and model.decoder else None)
    draw_attention(maps, [tokenizer.decode([i]) or str(tokenizer.token_of(i)) for i in ids], picture)


def export(source: Path, target: Path, *, type: str = "F16") -> Path:
    """Write the model folder ``source`` as a Hugging Face folder that ``transformers`` opens, or where ``target`` ends
    in .gguf as a file that llama.cpp runs, its matrices of ``type`` (F16, F32, Q8_0, Q4_0; ``SERVED``: in the blocks
    that a quantised ``source`` has)."""
    if target.suffix.lower() == ".gguf":
        return _export_gguf(source, target, type)
    if type == SERVED:
        raise InputError("only a .gguf file holds a version's own blocks", where=str(target), hint="model.gguf")
    if target.exists() and any(target.iterdir()):
        raise BusyError("is not empty", where=str(target), hint="name a new folder")
    shutil.copytree(source, target, dirs_exist_ok=True)
    return target


def source_of(stack: Stack, version: str, *, served: bool = False) -> Path:
    """The folder of the full-precision model of ``version``; ``served``: of the form in which it answers."""
    with open_registry(stack) as registry:
        found = registry.resolve(version)
        if served:
            return registry.folder(found.id)
    source = stack.state / "runs" / str(found.run) / "model"
    if not source.is_dir():
        raise ModelFileError(f"{found.id} has no training run here; export its base instead", where=str(source))
    return source


def _export_gguf(source: Path, target: Path, type: str) -> Path:
    from lamina.deployment.compress.gguf_blocks import served_weights
    from lamina.deployment.compress.quantize import is_quantized_folder, open_served
    from lamina.model.checkpoint import open_model
    from lamina.model.gguf import KINDS, Blocks, Kind, export_gguf

    known = (*KINDS, SERVED)
    if type not in known:
        raise InputError(f"the type {type!r} cannot be written", where=str(target), hint="known: " + ", ".join(known))
    if target.exists():
        raise BusyError("exists already", where=str(target), hint="name a new file")
    weights: dict[str, Tensor | Blocks]
    kind: Kind = next((kind for kind in KINDS if kind == type), KINDS[0])
    if type == SERVED and is_quantized_folder(source):
        model = open_served(source)
        weights, kind = served_weights(model), "F32"
    else:
        model = open_model(source)
        weights = {name: tensor for name, tensor in model.state_dict().items() if name not in model.aliases}
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        export_gguf(weights, model.spec, source, part, kind=kind)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _locate(place: str, cache: Path, progress: Progress) -> Path:
    return fetch_location(place, cache=cache, lock=None, progress=progress).path
