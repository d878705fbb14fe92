"""Which artefacts the last ``lamina up`` made: where server and ``improve`` find corpus, passages and run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lamina.kit.durable import atomic_write
from lamina.kit.errors import NotFoundError
from lamina.recipes.stack import Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """Keys of artefacts on their shelves; ``None`` where the stack has no such part."""

    corpus: str | None = None
    passages: str | None = None
    tokens: str | None = None
    base: str | None = None
    run: str | None = None
    vectors: str | None = None
    ngrams: str | None = None


def remember(stack: Stack, current: Current) -> None:
    """Write down what is current."""
    atomic_write(_file(stack), json.dumps(asdict(current)).encode())


def recall(stack: Stack) -> Current:
    """What the last run made; ``NotFoundError`` before the first."""
    try:
        return Current(**json.loads(_file(stack).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NotFoundError(
            "nothing has been built yet", where=str(stack.state), hint="run `lamina up` first"
        ) from None


def _file(stack: Stack) -> Path:
    return stack.state / "current.json"


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file as a dictionary."""
    return dict(json.loads(file.read_text(encoding="utf-8")))
