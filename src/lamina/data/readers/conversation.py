"""Records that are conversations (TRL's dataset types, ShareGPT) as documents; so are this stack's own feedback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.kit.errors import DocumentError

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}
_LETTERS = {"user": "A", "assistant": "B", "system": "System"}
_LISTS = ("messages", "conversations")
_BOOKKEEPING = ("feedback_id", "interaction_id", "user", "split", "created", "label", *_LISTS)


def conversation(record: Any) -> dict[str, Any] | None:
    """The columns of a record that is a conversation; None for any other.

    ``messages`` (or ``conversations``), or ``prompt`` and ``completion`` (or ``chosen``) hold turns with role and
    content. ``DocumentError`` where the record says that it is not to be learnt from: held out, or marked as wrong.
    """
    if not isinstance(record, Mapping) or isinstance(record.get("text"), str):
        return None
    turns = _turns(record)
    if not turns:
        return None
    if record.get("split") == "held-out" and "feedback_id" in record:
        raise DocumentError("is held out to measure with")
    if record.get("label") is False:
        raise DocumentError("holds an answer that people marked as wrong")
    messages = [{"role": role, "content": content} for role, content in turns]
    told = {k: v for k, v in record.items() if k not in (*_BOOKKEEPING, "prompt", "completion", "chosen", "rejected")}
    row: dict[str, Any] = {
        "text": "\n".join(f"{_LETTERS[role]}: {content}" for role, content in turns),
        "created": record.get("created"),
        "meta": {"messages": messages} | {str(k): v for k, v in told.items() if isinstance(v, str | int | float)},
    }
    if isinstance(record.get("feedback_id"), str):
        row["id"] = record["feedback_id"]  # the same in each table of a snapshot
    return row


def _turns(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    for name in _LISTS:
        if isinstance(record.get(name), list):
            return _said(record[name])
    prompt, answer = record.get("prompt"), record.get("completion", record.get("chosen"))
    if isinstance(prompt, str) and isinstance(answer, str) and prompt.strip() and answer.strip():
        return [("user", prompt), ("assistant", answer)]
    if isinstance(prompt, list) and isinstance(answer, list):
        before, after = _said(prompt), _said(answer)
        return before + after if before and after else []
    return _said(answer) if prompt is None and isinstance(answer, list) else []


def _said(turns: list[Any]) -> list[tuple[str, str]]:
    """Role and words of each turn; empty where one of them is of another shape."""
    found = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            return []
        told = str(turn.get("role", turn.get("from", ""))).lower()
        role, content = _ROLES.get(told, told), turn.get("content", turn.get("value"))
        if role not in _LETTERS or not isinstance(content, str):
            return []
        if content.strip():
            found.append((role, content))
    return found
