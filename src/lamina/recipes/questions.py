"""``[model.evaluate] questions``: what the stack's own evaluation asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamina.kit.errors import ConfigError, InputError


def read_questions(file: Path) -> list[dict[str, Any]]:
    """``{"question": …, "answers": […]}`` a line; a wrong line is named."""
    import orjson

    if not file.is_file():
        raise ConfigError("there is no such file", where=f"model.evaluate.questions: {file}")
    questions = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"is not JSON: {error}", where=f"{file}:{number}") from None
        if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row.get("answers"):
            raise InputError("needs 'question' (text) and 'answers' (a list)", where=f"{file}:{number}")
        questions.append({"question": row["question"], "answers": [str(a) for a in row["answers"]]})
    return questions
