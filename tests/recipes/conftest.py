"""What tests of several recipes share: stages in this process, and a stack that translates its documents back."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from lamina.kit.durable import publish
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.plan import Plan
from lamina.recipes.stack import Stack, open_stack


class InThisProcess(Protocol):
    """Lets stages run without a child process, which would load torch anew each; ``ran`` gets their names."""

    def __call__(self, patch: pytest.MonkeyPatch, ran: list[str] | None = None) -> None: ...


@pytest.fixture(scope="session")
def in_this_process() -> InThisProcess:
    """``in_this_process(patch)``, until ``patch`` is undone."""

    def settle(patch: pytest.MonkeyPatch, ran: list[str] | None = None) -> None:
        def run(self: Workshop, stage: Stage, folder: Path, work: Path, held: int) -> None:
            if ran is not None:
                ran.append(stage.name)
            module, name = stage.function.split(":")
            parameters = json.loads(json.dumps({**stage.parameters, "context": stage.context}))
            with publish(folder) as staging:
                function = getattr(importlib.import_module(module), name)
                function(staging, work, parameters, dict(stage.inputs), self._progress)

        patch.setattr(Workshop, "_run_child", run)

    return settle


_BACK_TRANSLATION = """name = "notes"
[data]
workers = 1
held_out = 0.25
steps = []
[data.augmentation]
max_share = 0.6
[[data.sources]]
use = "files"
from = "notes.jsonl"
language = "en"
[[data.augment]]
use = "back_translation"
"""


@pytest.fixture(scope="session")
def back_translation() -> Callable[[Path, str], Stack]:
    """``back_translation(folder, settings)``: a stack whose notes.jsonl is translated there and back, as these lines
    say."""

    def opened(folder: Path, settings: str) -> Stack:
        (folder / "lamina.toml").write_text(f"{_BACK_TRANSLATION}{settings}\n")
        return open_stack(folder / "lamina.toml")

    return opened


@pytest.fixture(scope="session")
def corpus_key() -> Callable[[Stack], str]:
    """``corpus_key(stack)``: of the corpus that it would have now."""

    def key(stack: Stack) -> str:
        progress = open_progress("quiet")
        workshop = Workshop(stack.state, progress)
        return workshop.key(Plan(stack, workshop, progress).corpus)

    return key
