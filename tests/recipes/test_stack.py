"""The four sections of the stack file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.kit.errors import ConfigError
from lamina.recipes.stack import open_stack

ROOT = Path(__file__).resolve().parents[2]


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "lamina.toml"
    file.write_text(text)
    return file


def test_the_example_opens() -> None:
    stack = open_stack(ROOT / "examples" / "quickstart" / "lamina.toml")
    assert stack.data is not None
    assert {s["use"] for s in stack.data.sources} == {"books", "files", "social"}
    assert all(s["license"] for s in stack.data.sources)


def test_settings_override_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'name = "x"\n[model]\nbase = "b"\n[model.train]\nsteps = 5\n')
    stack = open_stack(file, ["model.train.steps=9", "interface.port=9000"])
    assert stack.model is not None
    assert stack.model.train is not None
    assert (stack.model.train.steps, stack.interface.port) == (9, 9000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x"', "neither \\[data\\] nor \\[model\\]"),
        ('name = "x"\n[model]\n', "either 'base' or 'architecture'"),
        ('name = "x"\n[model]\narchitecture = "gpt"\n', "needs a 'preset'"),
        ('name = "x"\n[model]\nbase = "b"\n[model.train]\nsteps = 1\nbudget = "1m"\n', "exclude each other"),
        ('name = "x"\nformat = 9\n[model]\nbase = "b"\n', "newer than this Lamina"),
        (
            'name = "x"\n[model]\nbase = "b"\n[deployment]\nengine = "vllm"\n[deployment.adapters]\nmine = "lora"\n',
            r"deployment\.adapters: .*Lamina's engine",
        ),
        ('name = "x"\n[model]\nbase = "b"\n[deployment]\nengine = "tgi"\n', "engine"),
        ('name = "x"\n[modle]\nbase = "b"\n', "did you mean 'model'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_stack(write(tmp_path, text))
