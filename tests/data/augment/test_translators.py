from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.augment.apertium import Apertium, from_stream, read_mode, to_stream
from lamina.data.augment.back_translation import back_translation
from lamina.data.augment.ctranslate2_models import CTranslate2
from lamina.data.augment.translators import Served, open_translator
from lamina.kit.errors import ConfigError, FetchError, InputError, MissingExtraError, RefusedError

MODES = Path("/usr/share/apertium/modes")
with_apertium = pytest.mark.skipif(
    not (MODES / "eng-spa.mode").exists() or not shutil.which("lt-proc"), reason="apertium-eng-spa is not installed"
)
TEXTS = ["The big house.", "Nothing stands here\nand there.", "", "Cost: $5 & <b>big</b> [sic] {name} ^x/y\\z @w ~q"]


@pytest.mark.parametrize("text", [*TEXTS, "a [b] ]c[ \\ \\[", "code `x[0] = {1}` and https://a.org/[b]"])
def test_stream_format_goes_there_and_back(text: str) -> None:
    assert from_stream(to_stream(text)) == text
    assert "\0" not in to_stream(text + "\0")


def test_modes_are_pipelines_and_nothing_else(tmp_path: Path) -> None:
    mode = tmp_path / "a-b.mode"
    mode.write_text("lt-proc 'a b.bin' | apertium-tagger -g $2 x | lt-proc $1 c.bin")
    assert read_mode(mode) == [
        ["lt-proc", "-z", "a b.bin"], ["apertium-tagger", "-z", "-g", "x"], ["lt-proc", "-z", "-n", "c.bin"]
    ]  # fmt: skip
    for text in ("lt-proc a | rm -rf x", "lt-proc a ; ls", "lt-proc a > file", "lt-proc | ", "lt-proc `ls`"):
        mode.write_text(text)
        with pytest.raises(ConfigError, match="no plain pipeline"):
            read_mode(mode)


def test_without_apertium_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="apt-get install"):
        Apertium(tmp_path)


@with_apertium
def test_apertium_translates_and_keeps_what_must_stay() -> None:
    with Apertium() as apertium:
        assert ("en", "es") in apertium.pairs
        there = apertium.translate(TEXTS, "en", "es")
        assert there[0] == "La casa grande."
        assert there[1].count("\n") == 1
        assert there[2] == ""
        assert all(part in there[3] for part in ("<b>", "</b>", "[sic]", "{name}", "\\z", "~"))
        assert apertium.translate(["La casa grande."], "es-ES", "en-US") == ["The big house."]
        many = apertium.translate(["The big house."] * 300, "en", "es")
        assert many == ["La casa grande."] * 300
        with pytest.raises(InputError, match="no pair en-xx"):
            apertium.translate(["a"], "en", "xx")


@with_apertium
def test_apertium_starts_anew_after_its_programs_were_killed() -> None:
    with Apertium() as apertium:
        first = apertium.translate(["The big house."], "en", "es")
        pipeline = apertium._pipelines["en", "es"]
        pipeline._programs[3].kill()
        assert apertium.translate(["The big house."], "en", "es") == first


@with_apertium
def test_back_translation_by_apertium() -> None:
    text = "The football game of the boys took place in New York in 1998, and many were quite happy with it."
    batch = pa.RecordBatch.from_pydict({"id": ["a"], "text": [text], "language": ["en"]})
    (child,) = back_translation(batch, translator="apertium").to_pylist()
    assert child["text"] != text
    assert "1998" in child["text"]
    assert "New York" in child["text"]


class Model(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({**body, "key": self.headers.get("Authorization")})
        prompt = body["messages"][0]["content"]
        if "fail" in prompt:
            self.send_error(500)
            return
        reply = {"choices": [{"message": {"content": " " + prompt.split("\n\n", 1)[1].upper() + "\n"}}]}
        answer = json.dumps({} if "odd" in prompt else reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[str]:
    Model.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_a_served_model_is_asked_to_translate(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_TRANSLATOR_KEY", "secret")
    model = Served(served, model="mine", temperature=0.7)
    model.reseed(3)
    assert model.translate(["the house", "the sea"], "en", "es-ES") == ["THE HOUSE", "THE SEA"]
    first, second = Model.asked
    assert first["messages"][0]["content"].startswith("Translate from English to Spanish.")
    assert (first["model"], first["temperature"], first["key"]) == ("mine", 0.7, "Bearer secret")
    assert first["seed"] != second["seed"]
    model.reseed(3)
    model.translate(["the house"], "en", "es")
    assert Model.asked[2]["seed"] == first["seed"]
    for text, what in (("fail", "answered 500"), ("odd", "no translation")):
        with pytest.raises(FetchError, match=what):
            model.translate([text], "en", "es")


@pytest.mark.parametrize(
    "address", ["https://api.example.org/v1", "http://10.0.0.7/v1", "http://127.0.0.1.example.org/v1"]
)
def test_texts_stay_on_this_machine(address: str) -> None:
    with pytest.raises(RefusedError, match="another machine"):
        Served(address, model="x")
    Served(address, model="x", remote=True)


def test_what_is_no_translator_is_refused() -> None:
    with pytest.raises(ConfigError, match="no translator"):
        open_translator("babelfish")


def test_ctranslate2_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(MissingExtraError, match=r"lamina\[translate\]"):
        CTranslate2(tmp_path)
