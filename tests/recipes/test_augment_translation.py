"""Back translation by models beside the stack file, from the stack file to the corpus."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lamina.kit.errors import LaminaError
from lamina.kit.workers import WORKER
from lamina.recipes.augment import show
from lamina.recipes.corpus_tools import corpus_folder
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import build_data

pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed: pip install 'lamina[translate]'")

_place = Path(__file__).parents[1] / "data" / "augment" / "dictionary_models.py"
_spec = importlib.util.spec_from_file_location("dictionary_models", _place)
assert _spec is not None
assert _spec.loader is not None
_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_models)

NOUNS = ("ship", "harbour", "lighthouse", "keeper")
KINDS = ("big", "old", "quiet")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORKER, "1")  # models so small are slower on two threads
    _models.write_pair(tmp_path / "models")
    rows = []
    for n in range(16):
        a, b, c = NOUNS[n % 4], NOUNS[n // 4], KINDS[n % 3]
        rows.append({"text": f"The {c} {a} was near the old {b}. The {b} was big and the {a} was {KINDS[n // 6]}."})
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def opened(folder: Path, back_translation: Callable[[Path, str], Stack]) -> Callable[..., Stack]:
    """``opened(translator)``: the stack over ``folder``."""

    def over(translator: str = '"ctranslate2:models"') -> Stack:
        return back_translation(folder, f"translator = {translator}\ntemperature = 1.0")

    return over


def test_models_lie_beside_the_stack_file(folder: Path, opened: Callable[..., Stack]) -> None:
    stack = opened()
    report = build_data(stack, json=True)["augmentation"]
    assert report["children"] >= 5
    (row,) = report["translators"]
    assert (row["language"], row["pivot"], row["translator"]) == ("en", "es", "ctranslate2:models")
    corpus = corpus_folder(stack)
    rows = [r for f in sorted((corpus / "data").glob("*.parquet")) for r in pq.read_table(f).to_pylist()]
    originals = {r["id"]: r["text"] for r in rows if not r["parent_id"]}
    children = [r for r in rows if r["parent_id"]]
    assert len(children) == report["children"]
    for child in children:
        assert child["text"] != originals[child["parent_id"]]
        assert len(child["text"].split()) == len(originals[child["parent_id"]].split())
        told = json.loads(child["meta"])["augmented"]["parameters"]
        assert told["translator"] == "ctranslate2:models"
    words = (corpus / "report.json").read_text() + str(children) + str(pq.read_table(corpus / "ledger.parquet"))
    assert str(folder) not in words, "nothing tells of this machine's paths"
    assert "ctranslate2:models: taken" in show(stack)
    again = open_stack(stack.file, ["state=other"])
    assert build_data(again, json=True) == build_data(stack, json=True), "what is sampled follows from the seed"


def test_the_models_content_is_part_of_the_key(
    folder: Path, opened: Callable[..., Stack], corpus_key: Callable[[Stack], str]
) -> None:
    first = corpus_key(opened())
    assert corpus_key(opened('["ctranslate2:models"]')) != first, "what is written differs"
    assert corpus_key(opened()) == first
    model = folder / "models" / "en-es" / "model.bin"
    model.write_bytes(model.read_bytes() + b"\0")
    assert corpus_key(opened()) != first


def test_models_that_are_not_there_are_named(folder: Path, opened: Callable[..., Stack]) -> None:
    with pytest.raises(LaminaError, match=r"nowhere: data\.augment\.0\.translator\.1: there is no"):
        build_data(opened('["ctranslate2:models", "ctranslate2:nowhere"]'), json=True)
    (folder / "empty").mkdir()
    (folder / "empty" / "readme").touch()
    with pytest.raises(LaminaError, match="here is no model"):
        build_data(opened('"ctranslate2:empty"'), json=True)
