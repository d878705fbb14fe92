"""``lamina model``: show, import, export."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lamina.kit.errors import BusyError, InputError, ModelFileError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry

if TYPE_CHECKING:
    from lamina.model.gguf import Kind


def import_folder(path: Path, folder: Path) -> None:
    """Write the model at ``path`` (a GGUF file, a folder with one, or a Hugging Face folder) into ``folder``."""
    from lamina.model.gguf import import_gguf

    if path.is_file() and path.suffix.lower() == ".gguf":
        import_gguf(path, folder)
        return
    configs = sorted(path.rglob("config.json")) if path.is_dir() else []
    ggufs = sorted(path.rglob("*.gguf")) if path.is_dir() else []
    if configs and (not ggufs or configs[0].parent == path):
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(configs[0].parent.iterdir()):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
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


def show(place: str, *, as_json: bool) -> Any:
    """Layers, shapes and parameter counts of a model folder or GGUF file."""
    from lamina.model.checkpoint import open_model

    with tempfile.TemporaryDirectory() as cache:
        path = _locate(place, Path(cache), open_progress("quiet"))
        folder = path
        if not (path / "config.json").is_file():
            folder = Path(cache) / "model"
            import_folder(path, folder)
        model = open_model(folder)
    rows = [(name, list(tensor.shape), tensor.numel()) for name, tensor in model.named_parameters()]
    if as_json:
        tensors = [{"name": n, "shape": shape, "parameters": count} for n, shape, count in rows]
        return {"parameters": model.parameter_count, "tensors": tensors}
    lines = [f"{name:<44} {' × '.join(map(str, shape)):>16} {count:>14,}" for name, shape, count in rows]
    return "\n".join([*lines, f"{'total':<44} {'':>16} {model.parameter_count:>14,}"])


def export(source: Path, target: Path, *, type: str = "F16") -> Path:
    """Write the model folder ``source`` as a Hugging Face folder that ``transformers`` opens, or where ``target`` ends
    in .gguf as a file that llama.cpp runs, its matrices of ``type`` (F16, Q8_0, Q4_0)."""
    if target.suffix.lower() == ".gguf":
        return _export_gguf(source, target, type)
    if target.exists() and any(target.iterdir()):
        raise BusyError("is not empty", where=str(target), hint="name a new folder")
    shutil.copytree(source, target, dirs_exist_ok=True)
    return target


def source_of(stack: Stack, version: str) -> Path:
    """The folder of the full-precision model of ``version``."""
    with open_registry(stack) as registry:
        found = registry.resolve(version)
    source = stack.state / "runs" / str(found.run) / "model"
    if not source.is_dir():
        raise ModelFileError(f"{found.id} has no training run here; export its base instead", where=str(source))
    return source


def _export_gguf(source: Path, target: Path, type: str) -> Path:
    from lamina.model.checkpoint import open_model
    from lamina.model.gguf import KINDS, export_gguf

    if type not in KINDS:
        raise InputError(f"the type {type!r} cannot be written", where=str(target), hint="known: " + ", ".join(KINDS))
    if target.exists():
        raise BusyError("exists already", where=str(target), hint="name a new file")
    model = open_model(source)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name not in model.aliases}
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        export_gguf(weights, model.spec, source, part, kind=cast("Kind", type))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _locate(place: str, cache: Path, progress: Progress) -> Path:
    return fetch_location(place, cache=cache, lock=None, progress=progress).path
