"""Conversations, and the rows that teach from them (TRL's dataset types)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An assistant's wish that a tool be called; ``arguments`` are JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that an assistant may ask for; ``definition``: OpenAI's ``{"type": "function", …}`` as JSON text."""

    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as OpenAI's chat format has it; a tool's result names the call that it answers."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

#: Columns that tie a training row to the click it came from; every feedback snapshot has them.
LINEAGE_COLUMNS = [
    pa.field("feedback_id", pa.string()),
    pa.field("interaction_id", pa.string()),
    pa.field("user", pa.string()),  # pseudonym
    pa.field("split", pa.string(), nullable=False),  # train | held-out
    pa.field("created", pa.timestamp("us", tz="UTC")),
]

#: Supervised fine-tuning: prompt-completion, conversational.
SFT = pa.schema([pa.field("prompt", _MESSAGES), pa.field("completion", _MESSAGES), *LINEAGE_COLUMNS])
#: Unpaired preference (KTO).
KTO = pa.schema(
    [pa.field("prompt", _MESSAGES), pa.field("completion", _MESSAGES), pa.field("label", pa.bool_()), *LINEAGE_COLUMNS]
)
#: Preference pair (DPO), explicit prompt.
DPO = pa.schema(
    [pa.field("prompt", _MESSAGES), pa.field("chosen", _MESSAGES), pa.field("rejected", _MESSAGES), *LINEAGE_COLUMNS]
)
