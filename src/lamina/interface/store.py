"""Interactions and feedback in the database: append-only, durable when a call returns.

Each person (or conversation, where there are no accounts) is train or held-out for ever, from the first write on.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from lamina.contracts.chat import Message, ToolCall
from lamina.contracts.feedback import Feedback, Interaction, Split
from lamina.kit.database import Cursor, Database
from lamina.kit.errors import InputError, NotFoundError

MIGRATIONS = (
    """
    CREATE TABLE feedback_subject (subject TEXT PRIMARY KEY, split TEXT NOT NULL, created TEXT NOT NULL);
    CREATE TABLE interaction (
        id TEXT PRIMARY KEY, conversation TEXT NOT NULL, user_id TEXT NOT NULL, messages TEXT NOT NULL,
        answer TEXT NOT NULL, version TEXT NOT NULL, finish_reason TEXT NOT NULL, grounding TEXT NOT NULL,
        sources TEXT NOT NULL, parameters TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL, mean_logprob DOUBLE PRECISION, mean_entropy DOUBLE PRECISION,
        split TEXT NOT NULL, created TEXT NOT NULL);
    CREATE INDEX interaction_created ON interaction (created, id);
    CREATE TABLE feedback (
        id TEXT PRIMARY KEY, target TEXT NOT NULL REFERENCES interaction (id), kind TEXT NOT NULL, value TEXT NOT NULL,
        reasons TEXT NOT NULL, comment TEXT, user_id TEXT NOT NULL, supersedes_id TEXT UNIQUE, created TEXT NOT NULL);
    CREATE INDEX feedback_target ON feedback (target);
    """,
    "ALTER TABLE interaction ADD COLUMN made TEXT NOT NULL DEFAULT ''",
)
_INTERACTION = """INSERT INTO interaction VALUES (:id, :conversation, :user, :messages, :answer, :version,
    :finish_reason, :grounding, :sources, :parameters, :prompt_tokens, :completion_tokens, :mean_logprob, :mean_entropy,
    (SELECT split FROM feedback_subject WHERE subject = :subject), :created, :made)"""
_SUBJECT = "INSERT INTO feedback_subject VALUES (:subject, :split, :created) ON CONFLICT (subject) DO NOTHING"
_FEEDBACK = """INSERT INTO feedback VALUES (:id, :target, :kind, :value, :reasons, :comment, :user, :supersedes_id,
    :created)"""
_IN_FORCE = "NOT EXISTS (SELECT 1 FROM feedback later WHERE later.supersedes_id = f.id) AND f.value <> 'null'"
_PAGE = 500
HELD_OUT = 0.2


def subject_of(user: str, conversation: str) -> str:
    """Whose words these are: the unit that is split, capped and resampled."""
    return f"user:{user}" if user else f"conversation:{conversation}"


def split_of(user: str, conversation: str, *, held_out: float = HELD_OUT) -> Split:
    """Train or held-out, by hash of the user, or of the conversation where there are no accounts."""
    digest = hashlib.sha256(b"lamina split 1\0" + subject_of(user, conversation).encode()).digest()
    return "held-out" if int.from_bytes(digest[:8], "big") < held_out * 2**64 else "train"


class FeedbackStore:
    """``contracts.InteractionStore`` over ``kit.database``. Call it from threads, never on an event loop."""

    def __init__(self, database: Database, *, held_out: float = HELD_OUT) -> None:
        self._database = database
        self._held_out = held_out
        database.migrate("feedback", MIGRATIONS)

    def add_interaction(self, interaction: Interaction) -> None:
        """Keep it. Its split is the one that its user or conversation got at the first write."""
        subject = subject_of(interaction.user, interaction.conversation)
        split = split_of(interaction.user, interaction.conversation, held_out=self._held_out)
        row = asdict(interaction) | {
            "messages": _json([_turn(m) for m in interaction.messages]),
            "answer": interaction.answer.replace("\0", "\ufffd"),  # PostgreSQL's text holds no NUL
            "sources": _json(list(interaction.sources)),
            "created": _time(interaction.created),
            "subject": subject,
        }
        del row["split"]
        self._database.write(
            (_SUBJECT, {"subject": subject, "split": split, "created": row["created"]}), (_INTERACTION, row)
        )

    def add_feedback(self, feedback: Feedback) -> Feedback:
        """Keep it; the standing opinion of the same kind by the same user is superseded.

        An identical repeat returns the row that stands. A value of null takes the standing opinion back. Raises
        ``NotFoundError`` for an unknown target or ``supersedes_id``, ``InputError`` with nothing to take back.
        """
        return self._database.transact(lambda cursor: _add_feedback(cursor, feedback))

    def interaction(self, id: str) -> Interaction | None:
        """One answered request by the id of its answer."""
        rows = self._database.read("SELECT * FROM interaction WHERE id = :id", id=id)
        return _interaction(rows[0]) if rows else None

    def feedback(self, id: str) -> Feedback | None:
        """One judgement by its id, in force or not."""
        rows = self._database.read("SELECT * FROM feedback WHERE id = :id", id=id)
        return _feedback(rows[0]) if rows else None

    def feedback_for(self, target: str) -> Sequence[Feedback]:
        """Everything said of ``target``, oldest first, superseded rows included."""
        return [
            _feedback(r)
            for r in self._database.read("SELECT * FROM feedback WHERE target = :t ORDER BY created, id", t=target)
        ]

    def judged(self) -> Iterator[tuple[Interaction, tuple[Feedback, ...]]]:
        """Every interaction that has feedback in force, oldest first."""
        standing: dict[str, list[Feedback]] = defaultdict(list)
        for row in self._database.read(f"SELECT f.* FROM feedback f WHERE {_IN_FORCE} ORDER BY f.created, f.id"):
            standing[row["target"]].append(_feedback(row))
        created, last = "", ""
        while True:
            rows = self._database.read(
                "SELECT * FROM interaction i WHERE (i.created, i.id) > (:created, :last) AND EXISTS "
                f"(SELECT 1 FROM feedback f WHERE f.target = i.id AND {_IN_FORCE}) "
                "ORDER BY i.created, i.id LIMIT :page",
                created=created,
                last=last,
                page=_PAGE,
            )
            for row in rows:
                if row["id"] in standing:
                    yield _interaction(row), tuple(standing[row["id"]])
            if len(rows) < _PAGE:
                return
            created, last = rows[-1]["created"], rows[-1]["id"]

    def summary(self) -> Mapping[str, int]:
        """Counts of interactions, of feedback in force, and of judged interactions on each side of the split."""

        def count(sql: str) -> int:
            return int(self._database.read(sql)[0]["n"])

        of = f"SELECT COUNT(*) AS n FROM feedback f WHERE {_IN_FORCE} AND f.kind"
        sides = {
            r["split"]: int(r["n"])
            for r in self._database.read(
                "SELECT i.split, COUNT(DISTINCT i.id) AS n FROM interaction i JOIN feedback f ON f.target = i.id "
                f"WHERE {_IN_FORCE} GROUP BY i.split"
            )
        }
        return {
            "interactions": count("SELECT COUNT(*) AS n FROM interaction"),
            "thumbs_up": count(f"{of} = 'boolean' AND f.value = 'true'"),
            "thumbs_down": count(f"{of} = 'boolean' AND f.value = 'false'"),
            "corrections": count(f"{of} = 'correction'"),
            "train": sides.get("train", 0),
            "held_out": sides.get("held-out", 0),
        }


def _add_feedback(cursor: Cursor, feedback: Feedback) -> Feedback:
    if not cursor.read("SELECT id FROM interaction WHERE id = :id", id=feedback.target):
        raise NotFoundError("there is no answer of this id", hint="the target is the id of the response")
    mine = [
        _feedback(row)
        for row in cursor.read(
            "SELECT * FROM feedback WHERE target = :target AND kind = :kind AND user_id = :user ORDER BY created, id",
            target=feedback.target,
            kind=feedback.kind,
            user=feedback.user,
        )
    ]
    if feedback.supersedes_id is not None and feedback.supersedes_id not in {f.id for f in mine}:
        raise NotFoundError("there is no such feedback of this kind on this answer to supersede")
    gone = {f.supersedes_id for f in mine}
    standing = next((f for f in mine if f.id not in gone), None)
    if standing and same_opinion(standing, feedback):
        return standing
    if feedback.value == "null" and (standing is None or standing.value == "null"):
        raise InputError("there is no standing feedback of this kind to take back")
    feedback = replace(feedback, supersedes_id=standing.id if standing else None)
    row = asdict(feedback) | {"reasons": _json(list(feedback.reasons)), "created": _time(feedback.created)}
    cursor.write(_FEEDBACK, **row)
    return feedback


def same_opinion(one: Feedback, other: Feedback) -> bool:
    """Whether two judgements of one kind, target and user say the same."""
    return (one.value, one.reasons, one.comment) == (other.value, other.reasons, other.comment)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # sorts as text


def _read_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _turn(message: Message) -> dict[str, Any]:
    """A turn without the fields of tools where it has none, as turns were stored before there were tools."""
    return {name: value for name, value in asdict(message).items() if name in ("role", "content") or value}


def _message(turn: Mapping[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in turn.get("tool_calls", ()))
    return Message(turn["role"], turn["content"], calls, turn.get("tool_call_id"))


def _interaction(row: Mapping[str, Any]) -> Interaction:
    values = dict(row)
    return Interaction(
        user=values.pop("user_id"),
        messages=tuple(_message(m) for m in json.loads(values.pop("messages"))),
        sources=tuple(json.loads(values.pop("sources"))),
        created=_read_time(values.pop("created")),
        **values,
    )


def _feedback(row: Mapping[str, Any]) -> Feedback:
    values = dict(row)
    return Feedback(
        user=values.pop("user_id"),
        reasons=tuple(json.loads(values.pop("reasons"))),
        created=_read_time(values.pop("created")),
        **values,
    )
