"""The stack's own model translates only where it is good enough, else the next best; and it is said which."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lamina.data.augment.choose import settle
from lamina.data.augment.parallel import read_parallel
from lamina.data.augment.plan import plan_augment
from lamina.kit.errors import ConfigError

ENGLISH = [
    "The keeper of the lighthouse climbed the long stairs.",
    "Nobody had seen the boats come back to the harbour.",
    "The lamp was old and nobody knew how to mend it.",
    "In the morning the sea was calm and the sky was clear.",
]
SPANISH = [f"Frase {name} sobre el faro y el mar tranquilo" for name in ("primera", "segunda", "tercera", "cuarta")]


class Model(BaseHTTPRequestHandler):
    """Knows the pairs; what else it is asked it says ``otherwise``."""

    good = True
    otherwise: Callable[[str], str] = staticmethod(lambda text: "One may well say: " + text)
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        text = body["messages"][0]["content"].split("\n\n", 1)[1]
        known = dict(zip([*ENGLISH, *SPANISH], [*SPANISH, *ENGLISH], strict=True))
        if text in known:
            said = known[text] if self.good else "zzz"
        else:
            to_english = "to English" in body["messages"][0]["content"]
            said = type(self).otherwise(text) if to_english else text
        answer = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Model, "asked", [], raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.tsv"
    lines = ["en\tes", *(f"{a}\t{b}" for a, b in zip(ENGLISH, SPANISH, strict=True))]
    file.write_text("\n".join(lines) + "\n")
    return file


def settled(address: str, pairs: Path, *, own: str | None = None, **more: Any) -> Any:
    table = {"use": "back_translation", "translator": ["own", address], "parallel": str(pairs), **more}
    samples = ["We walked along the shore for hours. Then the rain came and we went home again."]
    return settle(
        plan_augment([table, {"use": "swap"}]),
        languages=("en", "fr"),
        samples=lambda operation, language: samples if language == "en" else [],
        own=address if own is None else own,
    )


def test_an_own_model_that_is_good_enough_is_taken(served: str, pairs: Path) -> None:
    operations, (row,) = settled(served, pairs)
    assert [o.use for o in operations] == ["back_translation", "swap"]
    assert row["translator"] == "own"
    assert "chrF 100.0 en-es and 100.0 es-en on 4 held-out pairs" in row["reasons"][0]
    assert operations[0].languages == ("en",)
    assert operations[0].parameters["translator"] == f"own:{served}"
    assert operations[0].told["translator"] == "own"
    own = [body for body in Model.asked if "grounding" in body]
    assert {body["grounding"] for body in own} == {"weights only"}
    assert own[0]["temperature"] == 0  # chrF is measured without sampling


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"good": False}, "at least 40 is needed"),
        ({"otherwise": staticmethod(lambda text: text)}, "at least 30% is needed"),
    ],
)
def test_an_own_model_that_is_not_leaves_it_to_the_next(
    served: str, pairs: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], said: str
) -> None:
    for name, value in model.items():
        monkeypatch.setattr(Model, name, value)
    operations, (row,) = settled(served, pairs)
    assert row["reasons"][0].startswith("own: not taken:")
    assert said in row["reasons"][0]
    if "good" in model:
        assert row["translator"] == served
        assert operations[0].parameters["translator"] == served
    else:  # the other one says the same
        assert row["translator"] is None
        assert [o.use for o in operations] == ["swap"]
        assert row["reasons"][-1] == "no translator is good enough: no back translation"


def test_an_own_model_that_is_not_served_is_told_of(served: str, pairs: Path) -> None:
    _, (row,) = settled(served, pairs, own="http://127.0.0.1:9/v1")
    assert "own: not taken: " in row["reasons"][0]
    assert "did not answer" in row["reasons"][0]
    assert row["translator"] == served
    _, (row,) = settled(served, pairs, own="")
    assert row["reasons"][0] == "own: not taken: nothing says where it is served"


def test_without_pairs_in_a_documents_language_an_own_model_is_not_taken(served: str, pairs: Path) -> None:
    _, (row,) = settled(served, pairs, pivots=["de"])
    assert row["reasons"][0] == "own: not taken: no held-out pairs to measure its chrF on"


def test_a_table_for_other_languages_is_left_alone(served: str, pairs: Path) -> None:
    operations, told = settled(served, pairs, languages=["fr"])
    assert (told, [o.use for o in operations]) == ([], ["swap"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.tsv", "en-GB\tes\tfr\na\tb\tc\nd\t\te\n"),
        ("p.csv", '"en","es"\n"a","b"\n'),
        ("p.jsonl", '{"en": "a", "es": "b"}\n\n{"en": "d", "fr": "e"}\n'),
        ("p.jsonl", '{"translation": {"en": "a", "es": "b"}}\n'),
    ],
)
def test_pairs_are_read_from_tables_and_lines(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_parallel(tmp_path / name, "en", "es-ES") == [("a", "b")]
    assert read_parallel(tmp_path / name, "es", "en") == [("b", "a")]
    assert read_parallel(tmp_path / name, "en", "pt") == []


@pytest.mark.parametrize(
    ("name", "text"), [("p.tsv", "the house\tla casa\n"), ("p.tsv", ""), ("p.jsonl", "[1]\n"), ("p.jsonl", "no\n")]
)
def test_what_are_no_pairs_is_refused_before_any_work(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    table = {"use": "back_translation", "translator": ["own"], "parallel": str(tmp_path / name)}
    with pytest.raises(ConfigError, match="no pairs of texts"):
        plan_augment([table])
