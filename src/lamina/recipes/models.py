"""``lamina model``: show, import, export."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from lamina.kit.errors import BusyError, ModelFileError
from lamina.kit.packages import fetch_location
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry


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


def export(stack: Stack, version: str, folder: Path) -> Path:
    """Write the full-precision model of ``version`` as a Hugging Face ``folder`` that ``transformers`` opens."""
    if folder.exists() and any(folder.iterdir()):
        raise BusyError("is not empty", where=str(folder), hint="name a new folder")
    with open_registry(stack) as registry:
        found = registry.resolve(version)
    source = stack.state / "runs" / str(found.run) / "model"
    if not source.is_dir():
        raise ModelFileError(f"{found.id} has no training run here; export its base instead", where=str(source))
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return folder


def _locate(place: str, cache: Path, progress: Progress) -> Path:
    return fetch_location(place, cache=cache, lock=None, progress=progress).path
