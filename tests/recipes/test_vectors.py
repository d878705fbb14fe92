"""``lamina vectors``: train on files or on the stack's corpus, ask for neighbours and analogies, evaluate."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lamina.cli import main
from lamina.kit.errors import ConfigError, InputError, NotFoundError
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.vector_files import read_vectors, write_vectors
from lamina.recipes import vectors as recipe

SMALL = recipe.Settings(width=16, epochs=20, min_count=1, threads=1, window=3)
SEA, LAND = ("Whale", "squid", "crab", "wave"), ("horse", "plough", "barn", "field")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of lines about the sea and lines about the land, in two kinds of file and one that is none."""
    folder, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    lines = [" ".join(draw.choices(draw.choice((SEA, LAND)), k=8)) + "." for _ in range(600)]
    (folder / "a.txt").write_text("\n".join(lines[:400]))
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines[400:]))
    (folder / "c.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize(("algorithm", "form"), [("skip-gram", "binary"), ("cbow", "text"), ("glove", "text")])
def test_words_that_stand_together_are_near(
    texts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], algorithm: str, form: str
) -> None:
    from dataclasses import replace

    out = tmp_path / "vectors.txt"
    settings = replace(SMALL, algorithm=algorithm, form=form)
    told = recipe.train(out, [str(texts)], settings, stack=tmp_path / "none.toml", as_json=True)
    assert told["corpus"] == 4800
    assert told["words"] == 8
    assert told["losses"][-1] < told["losses"][0]
    assert "c.bin" in capfd.readouterr().out, "what is not read is told"
    near = recipe.nearest(out, ["crab"], count=3, as_json=True)
    if algorithm != "glove":  # which learns nothing of words that never stand together
        assert {row["word"] for row in near} == {word.lower() for word in SEA} - {"crab"}
    head = out.read_bytes().split(b"\n")[0]
    assert head == b"8 16"
    assert (out.read_bytes().isascii()) == (form == "text")


def test_case_is_kept_by_choice(texts: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    out = tmp_path / "v.bin"
    recipe.train(out, [str(texts / "a.txt")], replace(SMALL, epochs=1, case=True), stack=tmp_path / "none.toml")
    assert "Whale" in read_vectors(out)
    assert "whale" not in read_vectors(out)


def test_n_grams_are_kept_beside_the_file(texts: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    out, settings = tmp_path / "v.bin", replace(SMALL, subwords=True, epochs=5)
    recipe.train(out, [str(texts / "a.txt")], settings, stack=tmp_path / "none.toml")
    near = recipe.nearest(out, ["Whales"], count=4, as_json=True)
    assert "whale" in {row["word"] for row in near}
    recipe.train(out, [str(texts / "a.txt")], replace(settings, subwords=False, epochs=1), stack=tmp_path / "none.toml")
    with pytest.raises(NotFoundError, match="whales"):
        recipe.nearest(out, ["whales"])
    with pytest.raises(ConfigError, match="whole words"):
        replace(settings, algorithm="glove")


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Vectors whose neighbours and analogies are plain to see."""
    import numpy as np

    words = ["king", "queen", "man", "woman", "apple"]
    table = np.array([[1, 1, 0, 0], [1, -1, 0, 0], [0, 1, 0.1, 0], [0, -1, 0.1, 0], [0, 0, 0, 1]], np.float32)
    write_vectors(KeyedVectors(words, table), tmp_path / "known.bin")
    return tmp_path / "known.bin"


def test_questions(known: Path, tmp_path: Path) -> None:
    assert recipe.analogy(known, "man", "king", "Woman", as_json=True)[0]["word"] == "queen"
    assert recipe.nearest(known, ["king", "-man", "woman"], count=1).startswith("queen")
    (tmp_path / "pairs.tsv").write_text("king\tqueen\t5\nman\twoman\t1\nking\tman\t8\nking\tpear\t2\n")
    (tmp_path / "analogies.txt").write_text(": family\nman king woman queen\nking man queen woman\n")
    found = recipe.evaluate(known, [tmp_path / "pairs.tsv", tmp_path / "analogies.txt"], as_json=True)
    assert (found[0]["spearman"], found[0]["asked"], found[0]["unknown"]) == (pytest.approx(1.0), 3, 1)
    assert (found[1]["accuracy"], found[1]["sections"]["family"]) == (1.0, (2, 2, 0))
    assert "100.0% of 2 analogies" in recipe.evaluate(known, [tmp_path / "analogies.txt"])


def test_what_cannot_be_is_refused(known: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no vector for the word 'qeen'.*did you mean 'queen'"):
        recipe.nearest(known, ["qeen"])
    with pytest.raises(NotFoundError, match=r"no such file of vectors.*lamina vectors train"):
        recipe.nearest(tmp_path / "none.bin", ["queen"])
    with pytest.raises(ConfigError, match="one of skip-gram, cbow, glove"):
        recipe.Settings(algorithm="fasttext")
    with pytest.raises(InputError, match="is a folder"):
        recipe.train(tmp_path, [], SMALL, stack=tmp_path / "none.toml")
    with pytest.raises(NotFoundError, match="no such file or folder"):
        recipe.train(tmp_path / "v.bin", [str(tmp_path / "nowhere")], SMALL, stack=tmp_path / "none.toml")
    assert not (tmp_path / "v.bin").exists()


def test_on_the_corpus_of_a_stack(texts: Path, tmp_path: Path) -> None:
    from lamina.recipes.stack import open_stack
    from lamina.recipes.up import build_data

    stack = tmp_path / "lamina.toml"
    stack.write_text(f'name = "x"\n[[data.sources]]\nuse = "files"\nfrom = "{texts}"\nmatch = "*.txt"\n')
    with pytest.raises(NotFoundError, match="lamina data build"):
        recipe.train(tmp_path / "v.bin", [], SMALL, stack=stack)
    options = ["data.held_out=0.0", "data.steps=[]"]
    build_data(open_stack(stack, options), json=True)
    told = recipe.train(tmp_path / "v.bin", [], SMALL, stack=stack, assignments=options, as_json=True)
    assert told["words"] == 8


def test_the_command_line(known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["lamina", "vectors", "analogy", str(known), "man", "king", "woman", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)[0]["word"] == "queen"
