"""What tells two tokenizers apart."""

from __future__ import annotations

import orjson

from lamina.contracts.tokens import Tokenizer
from lamina.kit.identity import blake3_hex

_PROBE = "The 3 whales — señor Ahab's größte Sorge — dive at 10:45.\n\tx = [0x1F, 'wal'];  鯨が潜る 🐋"


def fingerprint(tokenizer: Tokenizer) -> str:
    """Size, ends, and what it makes of a text that has a bit of everything, hashed."""
    facts = [tokenizer.vocabulary, list(tokenizer.end_ids), list(tokenizer.encode(_PROBE))]
    return blake3_hex(orjson.dumps(facts))[:32]
