"""``lamina data variety`` and the page, on a corpus that was built."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lamina.kit.errors import ConfigError, InputError
from lamina.recipes.corpus_tools import corpus_folder
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import build_data
from lamina.recipes.variety import mixture_of, report, variety

THEMES = {
    "sea": "whale harpoon sail deck captain ocean voyage mast anchor harbour tide sailor",
    "law": "court judge verdict jury statute lawyer appeal prosecutor trial clause plaintiff witness",
}


def texts(theme: str, count: int, seed: int) -> list[str]:
    random = np.random.default_rng([seed, ord(theme[0])])
    names = [*THEMES[theme].split(), "the", "and", "of"]
    return [" ".join(random.choice(names, 50)) + "." for _ in range(count)]


def write(folder: Path, theme: str, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts(theme, count, seed)):
        (folder / f"{theme}-{number}.txt").write_text(text)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("variety")
    write(folder / "sea", "sea", 60)
    write(folder / "reference", "sea", 40, seed=1)
    write(folder / "reference", "law", 20, seed=1)
    (folder / "lamina.toml").write_text(
        'name = "x"\n[data]\nworkers = 1\nheld_out = 0.0\nsteps = []\n'
        '[[data.sources]]\nuse = "files"\nname = "<sea> & salt"\nfrom = "sea"\nlanguage = "en"\n'
    )
    opened = open_stack(folder / "lamina.toml")
    build_data(opened, json=True)
    return opened


def test_what_was_measured_in_words_and_as_json(stack: Stack) -> None:
    words = variety(stack)
    assert "variety of 60 documents" in words
    assert "sources: 1, as varied as 1.0 equal ones" in words
    found = variety(stack, as_json=True)
    assert json.loads(json.dumps(found))["documents"] == 60
    assert found["reference"] is None
    assert found["mixture"] is None
    assert found["shares"]["language"]["groups"][0]["name"] == "en"


@pytest.mark.parametrize("how", ["folder", "file"])
def test_a_reference_in_any_form(stack: Stack, tmp_path: Path, how: str) -> None:
    place = stack.folder / "reference"
    if how == "file":
        rows = [{"text": f.read_text()} for f in sorted(place.iterdir())]
        place = tmp_path / "r.jsonl"
        place.write_text("\n".join(json.dumps(r) for r in rows))
    found = variety(stack, reference=str(place), as_json=True)["reference"]
    assert found["documents"] == 60
    assert 0.5 < found["coverage"] < 0.75
    assert any("is not covered" in gap for gap in found["gaps"])
    assert not list(stack.state.glob("reference-*"))  # what was made for it is gone


def test_a_corpus_as_its_own_reference(stack: Stack) -> None:
    corpus = corpus_folder(stack)
    for name in (str(corpus), corpus.name[:8], str(stack.file)):
        found = variety(stack, reference=name, as_json=True)["reference"]
        assert found["coverage"] == 1.0
        assert found["gaps"] == []


def test_other_vectors(stack: Stack, tmp_path: Path) -> None:
    corpus = corpus_folder(stack)
    ids = [i for f in sorted((corpus / "data").glob("*")) for i in pq.read_table(f).column("id").to_pylist()]
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32)[np.arange(len(ids)) % 2])
    found = variety(stack, vectors=tmp_path / "v.npy", as_json=True)
    assert found["vendi"]["order_1"] == pytest.approx(2, rel=0.01)
    assert found["embedding"] == "v.npy"
    with pytest.raises(ConfigError, match="corpus' documents alone"):
        variety(stack, vectors=tmp_path / "v.npy", reference=str(corpus))
    np.save(tmp_path / "w.npy", np.eye(3))
    with pytest.raises(InputError, match="no vector for each of 60"):
        variety(stack, vectors=tmp_path / "w.npy")
    with pytest.raises(ConfigError, match="--radius"):
        variety(stack, radius=3.0)


def test_a_corpus_that_was_not_measured(stack: Stack, tmp_path: Path) -> None:
    bare = open_stack(stack.file, ["data.held_out=0.5"])
    with pytest.raises(InputError, match="not built"):
        variety(bare)
    assert mixture_of(stack) is None


def test_the_page_shows_it(stack: Stack, tmp_path: Path) -> None:
    words = report(stack, tmp_path / "page.html")
    assert str(tmp_path / "page.html") in words
    page = (tmp_path / "page.html").read_text()
    tags: list[str] = []

    class Seen(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)

    Seen().feed(page)
    assert "script" not in tags
    assert "<h2>Variety</h2>" in page
    assert "&lt;sea&gt; &amp; salt" in page
    assert "<sea>" not in page
    assert "circle" in tags  # two topics or more
