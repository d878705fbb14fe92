"""Conversations, and the rows that teach from them (TRL's dataset types)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as OpenAI's chat format has it."""

    role: Role
    content: str


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
