"""What benchmarks share: the machine in words, and the real model that they run on."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def machine() -> str:
    """Processor, cores and instruction sets."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = set(facts.get("flags", "").split())
    sets = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_int8", "amx_bf16") if name in flags]
    name = facts.get("model name", platform.machine())
    return f"{name}, {os.cpu_count()} cores, {' '.join(sets) or 'no vector sets named'}"


def versions_of(*packages: str) -> dict[str, str]:
    """The versions of those that are installed beside us."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from its folder, or in another environment
            continue
    return found


def python_in(place: str) -> str:
    """The interpreter of the environment .bench/``place``, or our own where there is none."""
    found = ROOT / ".bench" / place / "bin" / "python"
    return str(found) if found.exists() else sys.executable


def version_in(place: str, package: str) -> dict[str, str]:
    """The version of ``package`` in .bench/``place``, or beside us where there is no such environment."""
    own = [str(path) for path in (ROOT / ".bench" / place / "lib").glob("python3.*/site-packages")]
    found = {d.name.lower().replace("_", "-"): d.version for d in metadata.distributions(path=own or sys.path)}
    return {package: found[package]} if package in found else {}


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face folder, made from the material that `make setup-dev` fetched."""
    from lamina.recipes.models import import_folder

    places = json.loads((ROOT / ".cache" / "material" / "places.json").read_text())
    folder = ROOT / ".cache" / "smollm2-hf"
    if not (folder / "config.json").is_file():
        import_folder(Path(places["smollm2"]), folder)
    return folder


def shaped(preset: str) -> Path:
    """A folder with a model of that preset's shape: SmolLM2's tokenizer, random weights, the same ones each time."""
    import torch

    from lamina.model.architectures import presets
    from lamina.model.checkpoint import save_model
    from lamina.model.transformer import Transformer

    folder = ROOT / ".cache" / f"{preset}-random"
    if not (folder / "config.json").is_file():
        torch.manual_seed(0)
        save_model(Transformer(presets.preset(preset)), folder, like=smollm2())
    return folder
